# Attacks on memory: physical addresses and page tables that lead out of RAM.

.set PATTERN, 0x5aa5c33c
.set WILD,   0x100000000                # linear 4 GiB: pages of far physical addresses
.set LOST,   0x140000000                # linear 5 GiB: a page directory outside RAM
.set ASTRAY, 0x180000000                # linear 6 GiB: a page table outside RAM
.set OWN,    0x1c0000000                # linear 7 GiB: 32 pages around the end of RAM

.section .text, "ax", @progbits

# Writes where there is no RAM and looks whether anything remembers; then strings and single words over its end.
wild_physical:
    mov qword ptr [rip + pdpt + 4 * 8], offset wild_pages + 3
    lea rbx, [rip + wild_list]
    lea rax, [rip + 1f]
    mov [rip + on_fault], rax
1:
    mov rax, [rbx]
    add rbx, 8
    test rax, rax
    jz 2f
    mov edx, PATTERN
    mov [rax], edx
    mov [rax + 4], edx
    cmp edx, [rax]
    jne 1b
    cmp edx, [rax + 4]
    jne 1b
    mov al, 0x21
    jmp finish
2:
    lea rax, [rip + 3f]
    mov [rip + on_fault], rax
    mov eax, PATTERN
    mov edi, RAM_END - 0x1000
    mov ecx, 0x11000 / 4                # a page of RAM, then 64 KiB beyond
    rep stosd
3:
    lea rax, [rip + 4f]
    mov [rip + on_fault], rax
    mov esi, RAM_END - 0x800
    mov edi, RAM_END - 0x400
    mov ecx, 0x1000
    rep movsb
4:
    lea rax, [rip + 5f]
    mov [rip + on_fault], rax
    mov rdx, 0x0123456789abcdef
    mov [RAM_END - 4], rdx              # half in, half out
    cmp dword ptr [RAM_END], 0x01234567
    jne 5f
    mov al, 0x21
    jmp finish
5:
    xor eax, eax
    jmp finish

# Entries on each level that lead to a table outside RAM: each access must fault, or find nothing.
wild_tables:
    mov rax, RAM_END + 0x1003
    mov [rip + pml4 + 1 * 8], rax
    mov rax, 0xfffffff003
    mov [rip + pml4 + 2 * 8], rax
    mov rax, RAM_END + 3
    mov [rip + pdpt + 5 * 8], rax
    mov qword ptr [rip + pdpt + 6 * 8], offset astray_pages + 3
    mov eax, 0xd0000003
    mov [rip + astray_pages], rax
    mov rax, 0x3ffffffff003
    mov [rip + astray_pages + 8], rax
    lea rbx, [rip + table_list]
1:
    mov rbp, [rbx]
    add rbx, 8
    test rbp, rbp
    jz 4f
    lea rax, [rip + 2f]
    mov [rip + on_fault], rax
    mov eax, [rbp]
2:
    lea rax, [rip + 3f]
    mov [rip + on_fault], rax
    mov dword ptr [rbp + 8], PATTERN
    cmp dword ptr [rbp + 8], PATTERN
    jne 3f
    mov al, 0x21
    jmp finish
3:
    jmp 1b
4:
    xor eax, eax
    jmp finish

# The root of the page tables outside RAM: not even the exception that follows can be delivered.
wild_root:
    mov eax, RAM_END + 0x1000
    mov cr3, rax
    jmp wild_root

# Maps 16 pages of RAM and 16 beyond it behind one another, writes all, and changes the entries under its own feet: from
# RAM to outside and back, to read-only, and through a recursive entry.
own_tables:
    mov qword ptr [rip + pdpt + 7 * 8], offset own_directory + 3
    mov qword ptr [rip + own_directory], offset own_pages + 3
    lea rdi, [rip + own_pages]
    mov eax, RAM_END - 16 * 0x1000 + 3
    mov ecx, 32
1:
    mov [rdi], rax
    add rdi, 8
    add eax, 0x1000
    loop 1b
    lea rax, [rip + not_obeyed]
    mov [rip + on_fault], rax
    mov rdi, OWN
    mov ecx, 32
2:
    mov [rdi], ecx                      # 32 down to 1
    mov [rdi + 0xffc], ecx
    add rdi, 0x1000
    loop 2b
    mov edi, RAM_END - 16 * 0x1000      # what lies in RAM must have arrived there
    mov ecx, 32
3:
    cmp [rdi], ecx
    jne not_obeyed
    cmp [rdi + 0xffc], ecx
    jne not_obeyed
    add edi, 0x1000
    dec ecx
    cmp ecx, 16
    ja 3b
    # The first page moves outside, used once with the stale translation and once without.
    mov rbx, OWN
    mov eax, RAM_END + 0x5003
    mov [rip + own_pages], rax
    mov dword ptr [rbx + 16], PATTERN
    invlpg [rbx]
    mov dword ptr [rbx + 24], PATTERN
    cmp dword ptr [RAM_END - 16 * 0x1000 + 24], PATTERN
    je not_obeyed
    # ... and back, read-only: a write must fault.
    mov eax, RAM_END - 16 * 0x1000 + 1
    mov [rip + own_pages], rax
    invlpg [rbx]
    lea rax, [rip + 4f]
    mov [rip + on_fault], rax
    mov dword ptr [rbx + 32], PATTERN
    jmp not_obeyed
4:
    # The tables map themselves; the entry of the second page is written through that.
    lea rax, [rip + not_obeyed]
    mov [rip + on_fault], rax
    mov eax, offset pml4 + 3
    mov [rip + pml4 + 510 * 8], rax
    mov rdi, 0xffffff0000e00000         # slots 510, 0, 7, 0
    mov eax, RAM_END + 0x9003
    mov [rdi + 8], rax
    mov rbx, OWN + 0x1000
    invlpg [rbx]
    mov dword ptr [rbx + 40], PATTERN   # outside
    mov eax, RAM_END - 2 * 0x1000 + 3
    mov [rdi + 8], rax
    invlpg [rbx]
    mov dword ptr [rbx + 40], PATTERN   # inside
    cmp dword ptr [RAM_END - 2 * 0x1000 + 40], PATTERN
    jne not_obeyed
    xor eax, eax
    jmp finish
not_obeyed:
    mov al, 0x22
    jmp finish

.section .data
.balign 8
wild_list:                              # below 4 GiB QEMU has firmware, and that in RAM
    .quad RAM_END, RAM_END + 0x1000, RAM_END + 0x8000, RAM_END + 0xfff8, RAM_END + 0x100000
    .quad 0x80000000, 0xbffffff8, 0xc0000000, 0xd0000000, 0xfec00000, 0xfee00000, 0xff000000
    .quad WILD, WILD + 0x200000, WILD + 0x400000, WILD + 0x600000, WILD + 0x800000, WILD + 0xbffff8
    .quad 0
table_list:
    .quad 0x8000000000, 0x10000000000, LOST, LOST + 0x200000, ASTRAY, ASTRAY + 0x200000, 0

.section .tables, "aw", @progbits
.balign 4096
wild_pages:                             # 2 MiB pages, the last with bits that few processors have
    .quad 0x0000000100000083
    .quad 0x0000001000000083
    .quad 0x0000004000000083
    .quad 0x0000200000000083
    .quad 0x0000800000000083
    .quad 0x0008000000000083
    .fill 506, 8, 0

.section .bss, "aw", @nobits
.balign 4096
astray_pages:
    .skip 4096
own_directory:
    .skip 4096
own_pages:
    .skip 4096
