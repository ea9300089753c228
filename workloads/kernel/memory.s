# The memory functions that compiled code may call, and the one copy that uses an SSE register.

.section .text, "ax", @progbits
.global memcpy, memmove, memset, memcmp
memcpy:
    mov rax, rdi
    mov rcx, rdx
    rep movsb
    ret
memmove:
    mov rax, rdi
    mov rcx, rdx
    mov r8, rdi
    sub r8, rsi
    cmp r8, rdx
    jb 1f
    rep movsb
    ret
1:  std
    lea rdi, [rdi + rdx - 1]
    lea rsi, [rsi + rdx - 1]
    rep movsb
    cld
    ret
memset:
    mov r8, rdi
    mov eax, esi
    mov rcx, rdx
    rep stosb
    mov rax, r8
    ret
memcmp:
    xor eax, eax
    xor ecx, ecx
1:  cmp rcx, rdx
    je 2f
    movzx eax, byte ptr [rdi + rcx]
    movzx r8d, byte ptr [rsi + rcx]
    inc rcx
    sub eax, r8d
    je 1b
2:  ret

# Copy RDX bytes from RSI to RDI: 16 at a time, since an instruction of ring 0 may cost a microsecond whatever it moves.
# Only for boot, before any process has state in XMM0.
.section .text.xmm, "ax", @progbits
.global boot_copy
boot_copy:
    sub rdx, 16
    jb 2f
1:  movups xmm0, [rsi]
    movups [rdi], xmm0
    add rsi, 16
    add rdi, 16
    sub rdx, 16
    jae 1b
2:  add rdx, 16
    mov rcx, rdx
    rep movsb
    ret
