//! Ring 3 prints without end.
#![no_std]
#![no_main]

rt::program!(main, []);

fn main([]: [u64; 0]) {
    loop {
        rt::syscall::write(rt::syscall::STDOUT, &[b'x'; 1024]);
    }
}
