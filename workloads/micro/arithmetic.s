# Instructions that compute, for ring 3.

# Sixteen of the short ones, in chains that are three long.
micro integer
    mov eax, 1
    mov ecx, 3
    mov edx, 5
    again
    rol eax, 7
    xor ecx, eax
    add edx, ecx
    mov r9d, edx
    ror r9d, 3
    and r9d, eax
    or ecx, r9d
    lea eax, [rax + rdx + 1]
    shl ecx, 2
    sub edx, ecx
    mov r10d, eax
    shr r10d, 5
    xor edx, r10d
    not r9d
    add eax, r9d
    xor ecx, edx
    done

micro multiply
    mov eax, 3
    mov ecx, 5
    again
    imul rax, rcx
    imul rax, rcx
    imul rax, rcx
    imul rax, rcx
    done

micro quotient
    mov r9d, 1000003
    again
    xor edx, edx
    mov eax, 0x12345678
    div r9
    done

# From the page at RSI.
micro load
    again
    mov rax, [rsi]
    mov ecx, [rsi + 64]
    movzx edx, byte ptr [rsi + 128]
    mov r9, [rsi + 192]
    mov rax, [rsi + 256]
    mov ecx, [rsi + 320]
    movzx edx, byte ptr [rsi + 384]
    mov r9, [rsi + 448]
    done

micro store
    again
    mov [rsi], r8
    mov [rsi + 64], r8d
    mov [rsi + 128], r8b
    mov [rsi + 192], r8
    mov [rsi + 256], r8
    mov [rsi + 320], r8d
    mov [rsi + 384], r8b
    mov [rsi + 448], r8
    done

# Results that are not exact, as most are not.
micro float
    mov eax, 3
    cvtsi2sd xmm0, eax
    mov eax, 7
    cvtsi2sd xmm1, eax
    divsd xmm0, xmm1
    movapd xmm2, xmm0
    movapd xmm3, xmm0
    again
    addsd xmm2, xmm0
    mulsd xmm3, xmm0
    subsd xmm2, xmm1
    addsd xmm3, xmm1
    addsd xmm2, xmm0
    mulsd xmm3, xmm0
    subsd xmm2, xmm1
    addsd xmm3, xmm1
    done

# The same, two numbers at a time.
micro float_packed
    mov eax, 3
    cvtsi2sd xmm0, eax
    mov eax, 7
    cvtsi2sd xmm1, eax
    divsd xmm0, xmm1
    unpcklpd xmm0, xmm0
    unpcklpd xmm1, xmm1
    movapd xmm2, xmm0
    movapd xmm3, xmm0
    again
    addpd xmm2, xmm0
    mulpd xmm3, xmm0
    subpd xmm2, xmm1
    addpd xmm3, xmm1
    addpd xmm2, xmm0
    mulpd xmm3, xmm0
    subpd xmm2, xmm1
    addpd xmm3, xmm1
    done

micro float_divide
    mov eax, 3
    cvtsi2sd xmm0, eax
    mov eax, 7
    cvtsi2sd xmm1, eax
    again
    movapd xmm2, xmm0
    divsd xmm2, xmm1
    sqrtsd xmm2, xmm2
    done

micro vector
    pxor xmm0, xmm0
    pcmpeqd xmm1, xmm1
    again
    paddd xmm0, xmm1
    movdqa xmm2, xmm0
    pxor xmm2, xmm1
    pshufd xmm3, xmm2, 0x1b
    paddq xmm3, xmm0
    pand xmm3, xmm1
    movdqa xmm4, xmm3
    psrlq xmm4, 3
    done

# A branch that goes either way, by a bit of Knuth's MMIX generator, cut down to a 32-bit multiplier.
micro unforeseen
    mov eax, 1
    again
    imul rax, rax, 0x5851f42d
    add rax, 0x14057b7f
    bt rax, 40
    jc 78f
    inc edx
78:
    done

# In the page at RSI, whose second half is zero: 1 KiB of it.
micro copy_string
    lea r10, [rsi + 2048]
    again
    mov rsi, r10
    lea rdi, [r10 + 1024]
    mov ecx, 1024
    rep movsb
    done

micro fill_string
    lea r10, [rsi + 2048]
    xor eax, eax
    again
    mov rdi, r10
    mov ecx, 1024
    rep stosb
    done

micro search_string
    lea r10, [rsi + 2048]
    mov al, 1
    again
    mov rdi, r10
    mov ecx, 1024
    repne scasb
    done

micro compare_string
    lea r10, [rsi + 2048]
    again
    mov rsi, r10
    lea rdi, [r10 + 1024]
    mov ecx, 1024
    repe cmpsb
    done
