# From the PVH entry to the attack that the command line names, the exception handler, and the end.

.set RAM_END, 0x4000000                 # every attack runs in 64 MiB
.set VECTORS, 0x101000                  # kernel.ld asserts it
.set VECTOR_COUNT, 48

.section .note.pvh, "a", @note
    .balign 4
    .long 4                             # name size
    .long 4                             # descriptor size
    .long 18                            # XEN_ELFNOTE_PHYS32_ENTRY
    .asciz "Xen"
    .long pvh_entry

.section .data
.balign 8
attacks:
    .quad wild_physical                 # a
    .quad wild_tables                   # b
    .quad wild_root                     # c
    .quad own_tables                    # d
    .quad every_port                    # e
    .quad triple_fault                  # f
    .quad interrupt_storm               # g
    .quad serial_flood                  # h
    .quad endless_loop                  # i
    .quad stack_exhaustion              # j
    .quad wild_descriptors              # k
    .quad wild_msrs                     # l
.set ATTACK_COUNT, 12
# Where to go on after an exception, on a fresh stack; 0: nowhere.
.global on_fault
on_fault:
    .quad 0


.section .text.boot, "ax", @progbits
.code32
.global pvh_entry
pvh_entry:
    cli
    cld
    mov edi, ebx
    lgdt [gdt_pointer]
    mov eax, 0x620                      # CR4: PAE, OSFXSR, OSXMMEXCPT
    mov cr4, eax
    mov eax, offset pml4
    mov cr3, eax
    mov ecx, 0xc0000080                 # EFER: SCE, LME, NXE
    mov eax, 0x901
    xor edx, edx
    wrmsr
    mov eax, 0x80010033                 # CR0: PG, WP, NE, ET, MP, PE
    mov cr0, eax
    .byte 0xea                          # ljmp 0x10:long_mode
    .long long_mode
    .word 0x10

.code64
.global long_mode
long_mode:
    mov eax, 0x18
    mov ss, eax
    mov ds, eax
    mov es, eax
    mov rsp, offset stack_end
    lidt [rip + idt_pointer]
    mov edi, edi
    mov rsi, [rdi + 24]                 # hvm_start_info: the command line
1:
    inc rsi
    cmp byte ptr [rsi], 0
    jne 1b
    movzx eax, byte ptr [rsi - 1]       # its last letter
    sub eax, 'a'
    cmp eax, ATTACK_COUNT
    mov ecx, 0xfe
    cmovae eax, ecx
    jae finish
    jmp qword ptr [rax * 8 + attacks]

# End with the code in AL.
.global finish
finish:
    mov ah, al
    mov al, 'X'
    out 0xe9, al
    mov al, ah
    shr al, 4
    call hex_digit
    mov al, ah
    and al, 15
    call hex_digit
1:
    cli
    hlt
    jmp 1b
hex_digit:
    cmp al, 10
    jb 1f
    add al, 'a' - 10 - '0'
1:
    add al, '0'
    out 0xe9, al
    ret

# Exceptions, and interrupts 32 to 47 of the two interrupt controllers.
.section .vectors, "ax", @progbits
.global vectors
vectors:
.set vector, 0
.rept VECTOR_COUNT
    .balign 16
    .if vector >= 32
        jmp interrupt
    .elseif (vector == 8) || ((vector >= 10) && (vector <= 14)) || (vector == 17) || (vector == 21)
        .byte 0x6a, vector              # push vector; the processor has pushed an error code
        jmp exception
    .else
        push 0
        .byte 0x6a, vector
        jmp exception
    .endif
    .set vector, vector + 1
.endr
.balign 16
exception:
    cmp byte ptr [rip + again], 0       # the storm: back to the instruction that faults
    jne 1f
    cmp qword ptr [rip + on_fault], 0
    je 2f
    mov rsp, offset stack_end
    jmp qword ptr [rip + on_fault]
1:
    add rsp, 16
    iretq
2:
    pop rax
    add eax, 0x80
    jmp finish
interrupt:
    push rax
    mov al, 0x20
    out 0x20, al
    pop rax
    iretq

.section .tables, "aw", @progbits
.balign 4096
# 4 GiB mapped where they are, accessed and dirty preset; what the attacks add are slots from 1 (pml4) and 4 (pdpt).
.global pml4, pdpt
pml4:
    .quad pdpt + 0x23
    .fill 511, 8, 0
pdpt:
    .quad identity + 0x0023
    .quad identity + 0x1023
    .quad identity + 0x2023
    .quad identity + 0x3023
    .fill 508, 8, 0
identity:
.set page, 0
.rept 2048
    .quad page * 0x200000 + 0xe3
    .set page, page + 1
.endr
gdt:
    .quad 0
    .quad 0x00cf9b000000ffff            # 0x08 code, 32-bit
    .quad 0x00af9b000000ffff            # 0x10 code
    .quad 0x00cf93000000ffff            # 0x18 data
gdt_end:
gdt_pointer:
    .word gdt_end - gdt - 1
    .quad gdt
.balign 16
idt:
.set vector, 0
.rept VECTOR_COUNT
    .set handler, VECTORS + vector * 16
    .word handler & 0xffff
    .word 0x10
    .word 0x8e00
    .word (handler >> 16) & 0xffff
    .long 0
    .long 0
    .set vector, vector + 1
.endr
idt_end:
idt_pointer:
    .word idt_end - idt - 1
    .quad idt

.section .bss, "aw", @nobits
.balign 4096
    .skip 16384
.global stack_end
stack_end:
.global again
again:
    .skip 16
