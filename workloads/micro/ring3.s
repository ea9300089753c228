# The loops that are for ring 3 alone.

micro syscall
    again
    mov eax, 39                         # getpid
    syscall
    done

micro yield
    again
    mov eax, 24                         # sched_yield
    syscall
    done

# The page at RSI becomes read-only and writable in turn, and is read.
micro protect
    mov rdi, rsi
    mov r9d, 3
    again
    xor r9d, 2
    mov edx, r9d
    mov esi, 4096
    mov eax, 10                         # mprotect
    syscall
    mov al, [rdi]
    done

# A fresh page each time.
micro page_fault
    again
    mov byte ptr [rsi], 1
    add rsi, 4096
    done

# Sixteen pages are mapped, written to and unmapped. The counter rests in RBX.
micro unmap
    again
    mov rbx, r8
    mov eax, 9                          # mmap
    xor edi, edi
    mov esi, 16 * 4096
    mov edx, 3
    mov r10d, 0x20022                   # private, anonymous, 4 KiB pages
    mov r8, -1
    xor r9d, r9d
    syscall
    mov rdi, rax
    .irp page, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
    mov byte ptr [rdi + 4096 * \page], 1
    .endr
    mov eax, 11                         # munmap
    mov esi, 16 * 4096
    syscall
    mov r8, rbx
    done

# A chain of addresses in memory, each needed for the next.
micro chase
    again
    mov rsi, [rsi]
    done

# Reads at random places of the memory at RDX, which holds zeros; RCX masks the offset. Each place depends on what was read
# before (Knuth's MMIX generator, cut down to a 32-bit multiplier). The control does the same without the read.
.macro random_place
    imul rax, rax, 0x5851f42d
    add rax, 0x14057b7f
    add rax, r9
    mov r10, rax
    shr r10, 17
    and r10, rcx
.endm

micro random_read
    xor eax, eax
    xor r9d, r9d
    again
    random_place
    mov r9, [rdx + r10]
    done

# The same without waiting for what was read.
micro independent_read
    xor eax, eax
    xor r9d, r9d
    again
    random_place
    mov r11, [rdx + r10]
    xor r9d, r9d
    done

# One line after another of the memory at RDX, and from its begin again; RCX masks the offset.
micro stream_read
    xor r9d, r9d
    again
    .irp word, 0, 1, 2, 3, 4, 5, 6, 7
    add rax, [rdx + r9 + 8 * \word]
    .endr
    add r9, 64
    and r9, rcx
    done

micro stream_write
    xor r9d, r9d
    again
    .irp word, 0, 1, 2, 3, 4, 5, 6, 7
    mov [rdx + r9 + 8 * \word], rax
    .endr
    add r9, 64
    and r9, rcx
    done

micro loop_random
    xor eax, eax
    xor r9d, r9d
    again
    random_place
    xor r9d, r9d
    done

micro call_ret
    again
    call 79f
    done
79:
    ret

# At RSI is the function `mov eax, imm32; ret`.
micro self_modify
    again
    mov [rsi + 1], r8d
    call rsi
    done

# Generated code: it runs R8 rounds by itself. RDX is the table of its indirect branches.
micro generated
    call rsi
    pop r14
    pop rbx
    ret

# Waits for RDI timer interrupts, whose handler goes on at R14. It catches the vector itself, as R14 must be set before the
# first; at the end a late interrupt only makes it release the vector again.
micro timer_period
    push r15
    mov r15, rdx                        # number of the call that catches a vector
    lea r14, [rip + 78f]
    mov eax, r15d
    mov edi, 32
    mov esi, 1
    syscall
77:
    jmp 77b
78:
    dec r8
    jg 77b
    lea r14, [rip + 79f]
79:
    mov eax, r15d
    mov edi, 32
    xor esi, esi
    syscall
    pop r15
    pop r14
    pop rbx
    ret
