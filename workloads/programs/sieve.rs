//! The sieve of Eratosthenes: the primes below n, odd numbers only, one byte each.
//!
//! What it shows: short integer loops over a small array with strided byte stores: the everyday case of an emulator.
#![no_std]
#![no_main]

use rt::Checksum;

rt::program!(main, rt::sizes::SIEVE, laps);

fn main([n]: [u64; 1]) {
    // composite[i] stands for the number 2 i + 1.
    let composite = rt::map::<u8>((n / 2) as usize);
    let timed = rt::laps(
        composite,
        |composite| composite.fill(0),
        |composite| {
            strike_out(composite);
            count(composite)
        },
    );
    let (primes, sum) = timed.value;
    rt::finish(Checksum::of([primes, sum]), timed.ticks);
}

#[inline(never)]
fn strike_out(composite: &mut [u8]) {
    let len = composite.len();
    // 1 is not prime.
    if let Some(one) = composite.first_mut() {
        *one = 1;
    }
    for i in 1.. {
        let prime = 2 * i + 1;
        // Below its square every multiple of a prime has a smaller factor.
        let square = 2 * i * (i + 1);
        if square >= len {
            break;
        }
        if composite[i] == 0 {
            composite[square..].iter_mut().step_by(prime).for_each(|number| *number = 1);
        }
    }
}

/// How many primes there are, and their sum.
#[inline(never)]
fn count(composite: &[u8]) -> (u64, u64) {
    // 2 is the one even prime; n is at least 3.
    let (mut primes, mut sum) = (1, 2);
    for (i, &struck) in composite.iter().enumerate() {
        if struck == 0 {
            primes += 1;
            sum += 2 * i as u64 + 1;
        }
    }
    (primes, sum)
}
