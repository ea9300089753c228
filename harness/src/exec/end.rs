//! How execution ended.

/// An exception that reached the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exception {
    /// Vector, 0 to 31.
    pub vector: u8,
    /// The error code that the processor pushes, if it does for this vector.
    pub error_code: Option<u32>,
    /// CR2, for a page fault.
    pub address: Option<u64>,
}

impl Exception {
    /// From the vector, whatever the error-code slot held, and CR2.
    #[must_use]
    pub fn new(vector: u8, error_code: u32, cr2: u64) -> Self {
        Self {
            vector,
            error_code: error_code_pushed(vector).then_some(error_code),
            address: (vector == 14).then_some(cr2),
        }
    }
}

/// Why execution ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It reached `hlt`; RIP is past it.
    Hlt,
    /// An exception; RIP is what the processor saved.
    Exception(Exception),
    /// The instruction budget is used up.
    Budget,
    /// It tried to call the kernel of the host (`syscall`, `sysenter` or `int 0x80`), which the native engine forbids.
    KernelCall,
    /// The processor shut down: a triple fault.
    Shutdown,
}

impl End {
    /// The word for it in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hlt => "hlt",
            Self::Exception(_) => "exception",
            Self::Budget => "budget",
            Self::KernelCall => "kernel-call",
            Self::Shutdown => "shutdown",
        }
    }
}

/// Whether the processor pushes an error code for this vector (Intel SDM volume 3, table 7-1).
#[must_use]
pub const fn error_code_pushed(vector: u8) -> bool {
    matches!(vector, 8 | 10..=14 | 17 | 21)
}

/// The manual's name of an exception.
#[must_use]
pub const fn exception_name(vector: u8) -> &'static str {
    match vector {
        0 => "#DE",
        1 => "#DB",
        2 => "NMI",
        3 => "#BP",
        4 => "#OF",
        5 => "#BR",
        6 => "#UD",
        7 => "#NM",
        8 => "#DF",
        10 => "#TS",
        11 => "#NP",
        12 => "#SS",
        13 => "#GP",
        14 => "#PF",
        16 => "#MF",
        17 => "#AC",
        18 => "#MC",
        19 => "#XM",
        20 => "#VE",
        21 => "#CP",
        _ => "interrupt",
    }
}
