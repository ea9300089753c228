# Attacks on the processor and the devices.

.set SMALL_STACK, 0x200000000           # linear 8 GiB: four pages, nothing below them

.section .text, "ax", @progbits

# Every port read and written, the exit port left out; then wide and string accesses, over the end of RAM too.
every_port:
    xor edx, edx
1:
    cmp edx, 0xf4
    je 2f
    in al, dx
    mov al, 0xff
    out dx, al
2:
    inc dx
    jnz 1b
    lea rax, [rip + 3f]
    mov [rip + on_fault], rax
    mov edx, 0xffff
    in ax, dx
    in eax, dx
    out dx, ax
    mov edx, 0xfffe
    out dx, eax
    mov dx, 0x80
    mov edi, RAM_END - 0x800
    mov ecx, 0x1000
    rep insb
3:
    lea rax, [rip + 4f]
    mov [rip + on_fault], rax
    mov dx, 0x80
    mov esi, RAM_END - 0x800
    mov ecx, 0x400
    rep outsd
4:
    xor eax, eax
    jmp finish

# An exception, and no handler for it nor for what follows.
triple_fault:
    lidt [rip + nothing]
    ud2

# Interrupts as fast as the timer goes, where there is one, and an exception whose handler returns to it.
interrupt_storm:
    mov byte ptr [rip + again], 1
    mov al, 0x11                        # both controllers: vectors from 32, all but the timer masked
    out 0x20, al
    out 0xa0, al
    mov al, 32
    out 0x21, al
    mov al, 40
    out 0xa1, al
    mov al, 4
    out 0x21, al
    mov al, 2
    out 0xa1, al
    mov al, 1
    out 0x21, al
    out 0xa1, al
    mov al, 0xff
    out 0xa1, al
    mov al, 0xfe
    out 0x21, al
    mov al, 0x34                        # counter 0, mode 2, every two ticks of 1.19 MHz
    out 0x43, al
    mov al, 2
    out 0x40, al
    xor eax, eax
    out 0x40, al
    sti
    ud2

# A console that never ends.
serial_flood:
    mov edx, 0x3f8
    mov al, 'x'
1:
    out dx, al
    out dx, al
    out dx, al
    out dx, al
    jmp 1b

# Nothing can interrupt this.
endless_loop:
    cli
1:
    jmp 1b

# Pushes until nothing is mapped: the page fault cannot be pushed either, nor the double fault.
stack_exhaustion:
    mov qword ptr [rip + pdpt + 8 * 8], offset stack_directory + 3
    mov qword ptr [rip + stack_directory], offset stack_pages + 3
    mov rax, RAM_END - 4 * 0x1000 + 3
    lea rdi, [rip + stack_pages + 8 * 8]
    mov ecx, 4
1:
    mov [rdi], rax
    add rdi, 8
    add rax, 0x1000
    loop 1b
    mov rsp, SMALL_STACK + 12 * 0x1000
2:
    push rax
    jmp 2b

# Descriptor tables outside RAM.
wild_descriptors:
    lgdt [rip + outside]
    lidt [rip + outside]
    mov eax, 0x18
    mov ds, eax
    ud2

# Model-specific registers, known and unknown, with an address outside RAM, as those that take one would use it.
wild_msrs:
    lea rbx, [rip + msr_list]
1:
    mov ebp, [rbx]
    mov esi, [rbx + 4]
    add rbx, 8
    test esi, esi
    jz 5f
2:
    lea rax, [rip + 3f]
    mov [rip + on_fault], rax
    mov ecx, ebp
    rdmsr
3:
    lea rax, [rip + 4f]
    mov [rip + on_fault], rax
    mov ecx, ebp
    cmp ecx, 0xc0000080                 # EFER: without long mode there is no kernel
    je 4f
    mov eax, RAM_END + 0x1001
    xor edx, edx
    wrmsr
4:
    inc ebp
    dec esi
    jnz 2b
    jmp 1b
5:
    xor eax, eax
    jmp finish

.section .data
.balign 8
nothing:
    .word 0
    .quad 0
.balign 8
outside:
    .word 0xffff
    .quad RAM_END + 0x1000
.balign 8
msr_list:                               # first, how many
    .long 0, 0x20
    .long 0x170, 0x20
    .long 0x1d0, 0x10
    .long 0x200, 0x10
    .long 0x400, 0x10
    .long 0x4b564d00, 9
    .long 0xc0000080, 0x20
    .long 0xc0000100, 4
    .long 0xc0010000, 0x20
    .long 0, 0

.section .bss, "aw", @nobits
.balign 4096
stack_directory:
    .skip 4096
stack_pages:
    .skip 4096
