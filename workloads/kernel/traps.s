# The ways into the kernel from ring 3, and back: system calls, exceptions, and the switch between processes.
#
# On some KVM backends ring 0 is emulated, instruction by instruction (about 1 us each), so these paths are short.

# struct Process (process.rs)
.set P_STACK,     0                     # saved stack pointer
.set P_CR3,       8
.set P_STACK_TOP, 16
.set P_NEXT,      24
.set P_FS_BASE,   32
.set P_IO_BITS,   40
.set P_FX,        48

# What a user process may have in RFLAGS: CF PF AF ZF SF TF DF OF AC ID, and the bit that is always one.
.set USER_RFLAGS, 0x240dd7

.section .vectors, "ax", @progbits
.global vectors
vectors:
.set vector, 0
.rept VECTOR_COUNT
    .balign 16
    .if vector == 14
        jmp page_fault
    .elseif vector == 32
        jmp timer_interrupt
    .elseif (vector == 8) || ((vector >= 10) && (vector <= 13)) || (vector == 17) || (vector == 21)
        .byte 0x6a, vector              # push vector; the processor has pushed an error code
        jmp trap_entry
    .else
        push 0
        .byte 0x6a, vector
        jmp trap_entry
    .endif
    .set vector, vector + 1
.endr
.balign 16

.section .text, "ax", @progbits

# --- System calls -----------------------------------------------------------------------------------------------
# Both ways in leave an interrupt-return frame on the kernel stack: RIP, CS, RFLAGS, RSP, SS.

.global syscall_entry
syscall_entry:
    mov [rip + user_stack], rsp
    mov rsp, [rip + tss_rsp0]
    push 0x2b
    push qword ptr [rip + user_stack]
    push r11
    push 0x33
    push rcx
    call dispatch
.global syscall_leave
syscall_leave:
    mov rcx, [rsp]
    mov r11, [rsp + 16]
    mov rsp, [rsp + 24]
.global sysret_instruction
sysret_instruction:
    sysretq

# Where `syscall` does not change the privilege level, it ends in a page fault at its own target (see page_fault).
# A program can also jump there, hence the mask on RFLAGS.
syscall_by_fault:
    add rsp, 8                          # error code
    mov [rsp], rcx
    and r11, USER_RFLAGS
.Lby_fault:
    mov [rsp + 16], r11
    call dispatch
    mov rcx, [rsp]                      # as after SYSRET, and no word of the kernel's leaks
    mov r11, [rsp + 16]
.global iret_leave
iret_leave:
    iretq

# The same where there is a timer: programs run with interrupts enabled.
.global syscall_by_fault_timed
syscall_by_fault_timed:
    add rsp, 8
    mov [rsp], rcx
    and r11, USER_RFLAGS
    or r11, 0x200
    jmp .Lby_fault

# RAX = number; arguments in RDI, RSI, RDX, R10, R8, R9. Returns the result in RAX; RCX and R11 are free.
dispatch:
    cmp rax, 39
    je .Lgetpid
    cmp rax, 24
    je .Lyield
    cmp rax, 1
    je .Lwrite
.Lserve:
    push r9
    push r8
    push r10
    push rdx
    push rsi
    push rdi
    mov rdi, rax
    mov rsi, rsp
    call system_call
    pop rdi
    pop rsi
    pop rdx
    pop r10
    pop r8
    pop r9
    ret
.Lgetpid:
    mov eax, [rip + current_pid]
    ret
.Lyield:
    xor eax, eax
    mov rcx, [rip + current]
    mov r11, [rcx + P_NEXT]
    cmp r11, rcx
    jne switch_to
    ret

# The markers of a region of interest: one byte to descriptor 3, quickly, since this path is inside the region.
.Lwrite:
    cmp rdi, 3
    jne .Lserve
    cmp rdx, 1
    jne .Lserve
    mov rcx, rsi
    shr rcx, 47                         # only the lower half is a program's
    jnz .Lserve
.global marker_load, marker_fault
marker_load:
    movzx ecx, byte ptr [rsi]           # if this faults for good, trap() goes on at marker_fault
    cmp cl, 'B'
    je .Lmark
    cmp cl, 'E'
    jne .Lserve
.Lmark:
    mov eax, ecx
    out 0xe9, al
    mov eax, 1
    ret
marker_fault:
    mov rax, -14                        # EFAULT
    ret

# Switch from the process in RCX to the one in R11; all other registers are kept for the one that leaves.
.global switch_to
switch_to:
    push rax
    push rbx
    push rdx
    push rbp
    push rsi
    push rdi
    push r8
    push r9
    push r10
    push r12
    push r13
    push r14
    push r15
    fxsave64 [rcx + P_FX]
    mov [rcx + P_STACK], rsp
    mov rbx, [rcx + P_FS_BASE]
    mov rbp, [rcx + P_IO_BITS]
    jmp .Lload

# Give the processor to the process in RDI for good (the one before has ended, or there was none).
.global run_process
run_process:
    mov r11, rdi
    xor ebp, ebp                        # no process has these values: set both
    mov rbx, -1
.Lload:
    mov rax, [r11 + P_CR3]
    mov cr3, rax
    mov rax, [r11 + P_STACK_TOP]
    mov [rip + tss_rsp0], rax
    mov [rip + current], r11
    mov eax, [r11 + P_IO_BITS + 4]      # the pid is the upper half of that word
    mov [rip + current_pid], eax
    mov qword ptr [rip + fault_window_len], 0
    cmp rbx, [r11 + P_FS_BASE]
    jne .Lfs_base
.Lio:
    cmp bpl, [r11 + P_IO_BITS]
    jne .Lio_bits
.Lrestore:
    fxrstor64 [r11 + P_FX]
    mov rsp, [r11 + P_STACK]
    pop r15
    pop r14
    pop r13
    pop r12
    pop r10
    pop r9
    pop r8
    pop rdi
    pop rsi
    pop rbp
    pop rdx
    pop rbx
    pop rax
    ret
.Lfs_base:
    mov rax, [r11 + P_FS_BASE]
    mov rdx, rax
    shr rdx, 32
    mov ecx, 0xc0000100
    wrmsr
    jmp .Lio
.Lio_bits:
    mov al, [r11 + P_IO_BITS]
    mov [rip + tss_io_scratch], al
    jmp .Lrestore

# --- Exceptions ---------------------------------------------------------------------------------------------------

# The common case is the first touch of a page of demand-zero memory: one store into the page table that the last
# fault went to. fault_window is the part of one region of one process that this table covers (fault.rs sets it).
page_fault:
    cmp qword ptr [rsp + 8], offset syscall_entry
.global syscall_by_fault_branch
syscall_by_fault_branch:
    .byte 0x0f, 0x84                    # je syscall_by_fault; with a timer, syscall_by_fault_timed (timer.rs)
    .long syscall_by_fault - . - 4
    push rax
    push rcx
    mov rax, cr2
    mov rcx, rax
    sub rcx, [rip + fault_window]
    cmp rcx, [rip + fault_window_len]
    jae .Lslow
    shr rax, 12
    and eax, 511
    mov rcx, [rip + fault_table]
    lea rcx, [rcx + rax * 8]
    cmp qword ptr [rcx], 0
    jne .Lslow
    mov rax, [rip + fresh_frame]
    cmp rax, [rip + fresh_end]
    jae .Lslow
    add qword ptr [rip + fresh_frame], 4096
    or rax, [rip + fault_bits]
    mov [rcx], rax
    pop rcx
    pop rax
    add rsp, 8
    iretq
.Lslow:
    pop rcx
    pop rax
    push 14

trap_entry:
    push rax
    push rbx
    push rcx
    push rdx
    push rbp
    push rsi
    push rdi
    push r8
    push r9
    push r10
    push r11
    push r12
    push r13
    push r14
    push r15
    cld
    mov rdi, rsp
    call trap
    pop r15
    pop r14
    pop r13
    pop r12
    pop r11
    pop r10
    pop r9
    pop r8
    pop rdi
    pop rsi
    pop rbp
    pop rdx
    pop rcx
    pop rbx
    pop rax
    add rsp, 16
    iretq

.section .bss, "aw", @nobits
.balign 8
user_stack:
    .skip 8
.global current, current_pid, fault_window, fault_window_len, fault_table, fault_bits, fresh_frame, fresh_end
current:
    .skip 8
current_pid:
    .skip 8
fault_window:
    .skip 8
fault_window_len:
    .skip 8
fault_table:
    .skip 8
fault_bits:
    .skip 8
fresh_frame:
    .skip 8
fresh_end:
    .skip 8
