# Tables that the processor reads: GDT, TSS, IDT and the kernel's page tables. All are constants of the image.

.set KERNEL_BASE, 0xffffffff80000000
.set VECTORS,     0xffffffff80101000    # kernel.ld asserts it
.set VECTOR_COUNT, 64

.section .tables, "aw", @progbits
.balign 4096

# Four levels, 2 MiB pages, accessed and dirty preset so that no walk has to write them.
# Slot 0 (identity) serves the few instructions between paging on and the jump to the high half;
# slot 256 maps all RAM; slot 511 maps the first GiB at KERNEL_BASE.
.global kernel_pml4
kernel_pml4:
    .quad kernel_pdpt_direct - KERNEL_BASE + 0x23
    .fill 255, 8, 0
    .quad kernel_pdpt_direct - KERNEL_BASE + 0x23
    .fill 254, 8, 0
    .quad kernel_pdpt_high - KERNEL_BASE + 0x23
kernel_pdpt_direct:
    .quad kernel_pd - KERNEL_BASE + 0x0023
    .quad kernel_pd - KERNEL_BASE + 0x1023
    .quad kernel_pd - KERNEL_BASE + 0x2023
    .quad kernel_pd - KERNEL_BASE + 0x3023
    .fill 508, 8, 0
kernel_pdpt_high:
    .fill 510, 8, 0
    .quad kernel_pd - KERNEL_BASE + 0x23
    .quad 0
kernel_pd:
.set page, 0
.rept 2048
    .quad page * 0x200000 + 0xe3
    .set page, page + 1
.endr

# Selectors are Linux's: kernel 0x10/0x18, user 0x2b/0x33.
.balign 16
.global gdt
gdt:
    .quad 0
    .quad 0x00cf9b000000ffff            # 0x08 kernel code, 32-bit (the boot path)
    .quad 0x00af9b000000ffff            # 0x10 kernel code
    .quad 0x00cf93000000ffff            # 0x18 kernel data
    .quad 0x00cffb000000ffff            # 0x20 user code, 32-bit
    .quad 0x00cff3000000ffff            # 0x28 user data
    .quad 0x00affb000000ffff            # 0x30 user code
    .quad 0
gdt_tss:                                # 0x40; pvh_entry fills in the base
    .quad 0x0000890000000000 + (tss_end - tss - 1)
    .quad 0x00000000ffffffff
gdt_end:
.balign 8
gdt_pointer:
    .word gdt_end - gdt - 1
    .quad gdt
gdt_pointer_phys:
    .word gdt_end - gdt - 1
    .long gdt - KERNEL_BASE

# 64-bit TSS (AMD64 manual 2, 12.2.5) with an I/O permission bitmap for ports 0 to 0x87.
.balign 128
.global tss
tss:
    .long 0
.global tss_rsp0
tss_rsp0:
    .quad 0, 0, 0                       # RSP0 to RSP2
    .quad 0
    .quad ist_stacks + 1 * 4096         # IST1: #GP
    .quad ist_stacks + 2 * 4096         # IST2: #DF
    .quad ist_stacks + 3 * 4096         # IST3: NMI, #MC
    .quad 0, 0, 0, 0
    .quad 0
    .word 0
    .word tss_io - tss
tss_io:
    .fill 16, 1, 0xff
.global tss_io_scratch
tss_io_scratch:                         # ports 0x80 to 0x87: ioperm clears bit 0
    .byte 0xff
    .byte 0xff                          # the byte of ones that ends the bitmap
tss_end:

.balign 16
idt:
.set vector, 0
.rept VECTOR_COUNT
    .set handler, VECTORS + vector * 16
    .word handler & 0xffff
    .word 0x10
    .if vector == 13
        .byte 1
    .elseif vector == 8
        .byte 2
    .elseif (vector == 2) || (vector == 18)
        .byte 3
    .else
        .byte 0
    .endif
    .if (vector == 3) || (vector == 4)
        .byte 0xee                      # interrupt gate that ring 3 may call
    .else
        .byte 0x8e
    .endif
    .word (handler >> 16) & 0xffff
    .long 0xffffffff
    .long 0
    .set vector, vector + 1
.endr
idt_end:
.balign 8
idt_pointer:
    .word idt_end - idt - 1
    .quad idt

.section .bss, "aw", @nobits
.balign 4096
ist_stacks:
    .skip 3 * 4096
boot_stack:
    .skip 16384
boot_stack_end:
