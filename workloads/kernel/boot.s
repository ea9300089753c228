# PVH entry: 32-bit protected mode, paging off, EBX = physical address of hvm_start_info.

.section .note.pvh, "a", @note
    .balign 4
    .long 4                             # name size
    .long 4                             # descriptor size
    .long 18                            # XEN_ELFNOTE_PHYS32_ENTRY
    .asciz "Xen"
    .long pvh_entry - KERNEL_BASE

.section .text.boot, "ax", @progbits
.code32
.global pvh_entry
pvh_entry:
    cli
    cld
    mov edi, ebx
    lgdt [gdt_pointer_phys - KERNEL_BASE]
    mov eax, 0x620                      # CR4: PAE, OSFXSR, OSXMMEXCPT
    mov cr4, eax
    mov eax, offset kernel_pml4 - KERNEL_BASE
    mov cr3, eax
    mov ecx, 0xc0000080                 # EFER: SCE, LME, NXE
    mov eax, 0x901
    xor edx, edx
    wrmsr
    mov eax, 0x80010033                 # CR0: PG, WP, NE, ET, MP, PE
    mov cr0, eax
    .byte 0xea                          # ljmp 0x10:long_mode
    .long long_mode - KERNEL_BASE
    .word 0x10

.code64
long_mode:
    movabs rax, offset high_half
    jmp rax
high_half:
    lea rsp, [rip + boot_stack_end]
    lgdt [rip + gdt_pointer]
    lidt [rip + idt_pointer]
    mov eax, 0x18
    mov ss, eax
    mov ds, eax
    mov es, eax
    xor eax, eax
    mov fs, eax
    mov gs, eax
    lldt ax

    lea rax, [rip + tss]                # the base is scattered over the descriptor
    mov [rip + gdt_tss + 2], ax
    shr rax, 16
    mov [rip + gdt_tss + 4], al
    mov [rip + gdt_tss + 7], ah
    mov eax, 0x40
    ltr ax

    mov ecx, 0xc0000081                 # STAR
    xor eax, eax
    mov edx, 0x00230010
    wrmsr
    inc ecx                             # LSTAR
    mov eax, offset syscall_entry - KERNEL_BASE + 0x80000000
    mov edx, 0xffffffff
    wrmsr
    mov ecx, 0xc0000084                 # FMASK: TF, IF, DF, IOPL, NT, AC
    mov eax, 0x47700
    xor edx, edx
    wrmsr

    mov edi, edi
    call kernel_main
    ud2
