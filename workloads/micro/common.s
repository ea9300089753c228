# The loops of the micro-benchmarks that ring 0 and ring 3 share. Each is a function: it does its event RDI times, with
# operands in RSI, RDX and RCX. R8 counts; a fault that is wanted goes on at the address in R14 (kernel/micro.s).

.macro micro name
    .section .text.micro, "ax", @progbits
    .balign 64
    .global micro_\name
micro_\name:
    push rbx
    push r14
    mov r8, rdi
.endm

.macro again
    .balign 32
77:
.endm

.macro done
    dec r8
    jnz 77b
    pop r14
    pop rbx
    ret
.endm

micro loop
    again
    done

micro loop_move
    again
    mov eax, 0
    done

# EAX = 0 every time: the leaf asked for is always the same.
micro cpuid
    again
    mov eax, 0
    cpuid
    done

micro rdtsc
    again
    rdtsc
    done

micro sgdt
    again
    sgdt [rsi]
    done

micro sidt
    again
    sidt [rsi]
    done

micro pushf
    again
    pushfq
    popfq
    done

micro port_out
    mov edx, 0x80
    again
    out dx, al
    done

micro port_in
    mov edx, 0x80
    again
    in al, dx
    done

micro mmio_write
    again
    mov [rsi], eax
    done

micro mmio_read
    again
    mov eax, [rsi]
    done

micro divide
    xor eax, eax
    xor edx, edx
    xor ecx, ecx
    lea r14, [rip + 78f]
    again
    div ecx
78:
    done

micro undefined
    lea r14, [rip + 78f]
    again
    ud2
78:
    done

micro breakpoint
    lea r14, [rip + 78f]
    again
    int3
78:
    done

# Vector 4 has a gate that ring 3 may use.
micro interrupt
    lea r14, [rip + 78f]
    again
    .byte 0xcd, 4
78:
    done

micro data_fault
    lea r14, [rip + 78f]
    again
    mov eax, [rsi]
78:
    done

micro fetch_fault
    lea r14, [rip + 78f]
    again
    jmp rsi
78:
    done
