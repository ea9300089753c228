# The loops that are for ring 0 alone, and the handlers of the exceptions that are wanted.

micro rdmsr
    mov ecx, 0xc0000080                 # EFER
    again
    rdmsr
    done

micro wrmsr
    mov ecx, 0xc0000080
    rdmsr
    again
    wrmsr
    done

micro cr0
    mov rax, cr0
    again
    mov cr0, rax
    done

micro cr3
    mov rax, cr3
    again
    mov cr3, rax
    done

micro cr4
    mov rax, cr4
    again
    mov cr4, rax
    done

micro cr8
    xor eax, eax
    again
    mov cr8, rax
    done

micro lgdt
    sgdt [rsi]
    again
    lgdt [rsi]
    done

micro lidt
    sidt [rsi]
    again
    lidt [rsi]
    done

micro swapgs
    shl r8, 1                           # an even number, so that GS base is in the end what it was
    again
    swapgs
    done

micro sti_cli
    again
    sti
    cli
    done

# KVM_HC_VAPIC_POLL_IRQ: a hypercall without arguments and without effect (Linux, virt/kvm/x86/hypercalls.rst).
micro vmcall
    again
    mov eax, 1
    vmcall
    done

micro vmmcall
    again
    mov eax, 1
    vmmcall
    done

# IRET to the next instruction; the control builds the same frame.
.macro frame
    push 0x18
    push r10
    pushfq
    push 0x10
    push r9
.endm

micro iret
    lea r9, [rip + 78f]
    mov r10, rsp
    again
    frame
    iretq
78:
    done

micro loop_frame
    lea r9, [rip + 78f]
    mov r10, rsp
    again
    frame
    add rsp, 40
78:
    done

micro invlpg
    again
    invlpg [rsi]
    done

micro loop_load
    again
    mov al, [rsi]
    done

micro tlb_evict
    again
    invlpg [rsi]
    mov al, [rsi]
    done

micro tlb_flush
    mov rdx, cr3
    again
    mov cr3, rdx
    mov al, [rsi]
    done

# RDX is where the entry for the page at RSI is: the page becomes read-only and writable in turn, and is read.
micro pte_modify
    again
    xor qword ptr [rdx], 2
    invlpg [rsi]
    mov al, [rsi]
    done

# From address space RDX to RCX and back, reading 8 pages after each switch.
.macro loads
    mov al, [rsi]
    mov al, [rsi + 4096]
    mov al, [rsi + 8192]
    mov al, [rsi + 12288]
    mov al, [rsi + 16384]
    mov al, [rsi + 20480]
    mov al, [rsi + 24576]
    mov al, [rsi + 28672]
.endm

micro switch
    mov r9, cr3
    again
    xchg rdx, rcx
    mov cr3, rdx
    loads
    dec r8
    jnz 77b
    mov cr3, r9
    pop r14
    pop rbx
    ret

micro loop_loads
    again
    xchg rdx, rcx
    loads
    done

# Counter 0 of the 8254 counts DELAY down once (mode 0) and raises its line.
.set DELAY, 239                         # 200 us
.macro arm
    mov al, 0x30
    out 0x43, al
    mov al, DELAY & 0xff
    out 0x40, al
    mov al, DELAY >> 8
    out 0x40, al
.endm

micro loop_arm
    again
    arm
    done

micro halt_wake
    again
    arm
    sti
    hlt
    cli
    done

micro timer_latency
    lea r14, [rip + 78f]
    again
    arm
    sti
76:
    jmp 76b
78:
    cli
    done

# The handlers: on with R14. They are as short as handlers can be, so that what is timed is the way in and out.
.section .text.micro, "ax", @progbits
.balign 16
.global micro_caught
micro_caught:
    mov [rsp], r14
    iretq

# Where `syscall` ends in a page fault, that goes its usual way.
.balign 16
.global micro_caught_page_fault
micro_caught_page_fault:
    cmp qword ptr [rsp + 8], offset syscall_entry
    je micro_not_mine
    add rsp, 8
    mov [rsp], r14
    iretq
micro_not_mine:
    jmp page_fault
