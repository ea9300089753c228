# The timer interrupt: it wakes whose time has come, and takes the processor from the process that has it.
#
# It comes in ring 3 or in the HLT of the idle loop, and nowhere else, for the kernel runs with interrupts off. The controller
# ends interrupts by itself (automatic EOI), so there is no port to write.

.section .text, "ax", @progbits
timer_interrupt:
    test byte ptr [rsp + 8], 3          # CS
    jz .Lno_switch                      # the idle loop looks itself
    cmp dword ptr [rip + others], 0
    je .Lno_switch
    push rax
    push rcx
    push r11
    cld
    cmp qword ptr [rip + sleeping], 0
    jne .Lsleepers
.Lround:
    mov rcx, [rip + current]
    mov r11, [rcx + P_NEXT]
    cmp r11, rcx
    je .Lalone
    call switch_to
.Lalone:
    pop r11
    pop rcx
    pop rax
.Lno_switch:
    iretq

.Lsleepers:
    push rdx
    rdtsc
    shl rdx, 32
    or rax, rdx
    cmp rax, [rip + next_wake]
    jb .Lnobody
    push rsi
    push rdi
    push r8
    push r9
    push r10
    mov rdi, rax
    call wake_in_turn
    pop r10
    pop r9
    pop r8
    pop rdi
    pop rsi
.Lnobody:
    pop rdx
    jmp .Lround

.section .bss, "aw", @nobits
.balign 8
.global others, sleeping, next_wake
others:                                 # processes that live beside one
    .skip 8
sleeping:                               # the one that wakes first, or 0
    .skip 8
next_wake:                              # when it does, on the time-stamp counter
    .skip 8
