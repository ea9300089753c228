//! What each program must compute, written a second time, in another way where there is one.

use sha2::{Digest, Sha256};

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// FNV-1a over words.
pub(crate) fn fold(words: impl IntoIterator<Item = u64>) -> u64 {
    words.into_iter().fold(0xcbf2_9ce4_8422_2325, |sum: u64, word| (sum ^ word).wrapping_mul(0x100_0000_01b3))
}

/// SplitMix64 as an iterator, its state written as a multiple of the golden gamma.
pub(crate) fn random(seed: u64) -> impl Iterator<Item = u64> {
    (1_u64..).map(move |i| {
        let z = seed.wrapping_add(i.wrapping_mul(GOLDEN));
        let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    })
}

fn random_bytes(seed: u64, kib: u64) -> Vec<u8> {
    random(seed).take(kib as usize * 128).flat_map(u64::to_le_bytes).collect()
}

pub(crate) fn dense_mm(n: u64) -> u64 {
    let n = n as usize;
    let mut units = random(1).map(|x| (x >> 11) as f64 / (1_u64 << 53) as f64);
    let a: Vec<f64> = units.by_ref().take(n * n).collect();
    let b: Vec<f64> = units.take(n * n).collect();
    // Another loop order; each sum still runs over k in order, from 0.
    let mut c = vec![0.0; n * n];
    for k in 0..n {
        for i in 0..n {
            for j in 0..n {
                c[i * n + j] += a[i * n + k] * b[k * n + j];
            }
        }
    }
    fold(c.into_iter().map(f64::to_bits))
}

pub(crate) fn random_access(mib: u64, reads: u64) -> u64 {
    let lines = u128::from(mib) << 14;
    let line = |random: u64| ((u128::from(random) * lines) >> 64) as u64;
    let sum = random(2).take(reads as usize).fold(0_u64, |sum, x| sum.wrapping_add((line(x) + 1).wrapping_mul(GOLDEN)));
    fold([sum])
}

/// The number of primes below n, and their sum, by trial division.
pub(crate) fn primes(n: u64) -> (u64, u64) {
    let mut primes = vec![2_u64];
    for candidate in (3..n).step_by(2) {
        if primes.iter().take_while(|&&p| p * p <= candidate).all(|p| candidate % p != 0) {
            primes.push(candidate);
        }
    }
    (primes.len() as u64, primes.iter().sum())
}

pub(crate) fn sieve(n: u64) -> u64 {
    let (count, sum) = primes(n);
    fold([count, sum])
}

pub(crate) fn fib(n: u64, rounds: u64) -> u64 {
    let (number, _) = (0..n).fold((0_u64, 1_u64), |(a, b), _| (b, a + b));
    fold((0..rounds).map(|_| number))
}

pub(crate) fn qsort(n: u64) -> u64 {
    let mut numbers: Vec<u64> = random(3).take(n as usize).collect();
    numbers.sort_unstable();
    fold(numbers)
}

pub(crate) fn sha256(kib: u64) -> u64 {
    let digest = Sha256::digest(random_bytes(4, kib));
    let words = digest.chunks_exact(4).map(|word| u64::from(u32::from_be_bytes(word.try_into().expect("four bytes"))));
    fold(words)
}

pub(crate) fn bytecode(n: u64) -> u64 {
    let steps = |start: u64| {
        std::iter::successors(Some(start), |&x| match x {
            1 => None,
            _ if x % 2 == 0 => Some(x / 2),
            _ => Some(3 * x + 1),
        })
        .count() as u64
            - 1
    };
    fold([(1..=n).fold(0_u64, |hash, i| hash.rotate_left(5) ^ steps(i))])
}

pub(crate) fn matmul_i64(n: u64) -> u64 {
    let n = n as usize;
    let mut numbers = random(5).map(|x| x as i64);
    let a: Vec<i64> = numbers.by_ref().take(n * n).collect();
    let b: Vec<i64> = numbers.take(n * n).collect();
    let element =
        |i: usize, j: usize| (0..n).fold(0_i64, |sum, k| sum.wrapping_add(a[i * n + k].wrapping_mul(b[k * n + j])));
    fold((0..n * n).map(|at| element(at / n, at % n) as u64))
}

/// CRC-32 bit by bit.
pub(crate) fn crc(data: &[u8]) -> u32 {
    let mut crc = !0_u32;
    for &byte in data {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 };
        }
    }
    !crc
}

pub(crate) fn crc32(kib: u64) -> u64 {
    fold([u64::from(crc(&random_bytes(6, kib)))])
}

pub(crate) fn strings(bytes: u64, rounds: u64) -> u64 {
    let len = (bytes / 8 * 8) as usize;
    let mut words = Vec::new();
    for x in random(7).take(rounds as usize) {
        let fill = x as u8 & 0x7f;
        let mut copy = vec![fill; len];
        copy[len - 1] = 0xff;
        let place = (x >> 8) as usize % (len - 1);
        copy[place] ^= 1;
        let hash = copy.iter().fold(5381_u64, |hash, &byte| hash.wrapping_mul(33) ^ u64::from(byte));
        // The mark is last in every buffer, and the copies differ at `place` alone.
        words.extend([len as u64 - 1, place as u64, hash, len as u64 - 1]);
    }
    fold(words)
}

pub(crate) fn stream(mib: u64, passes: u64) -> u64 {
    let q = 2_f64.sqrt() - 1.0;
    // All KiB of an array are alike, so one is enough.
    let mut a: Vec<f64> = (0..128).map(|i| 1.0 + f64::from(i) / 128.0).collect();
    let (mut b, mut c) = (vec![0.0; 128], vec![0.0; 128]);
    for _ in 0..passes {
        for i in 0..128 {
            c[i] = a[i];
            b[i] = q * c[i];
            c[i] = a[i] + b[i];
            a[i] = b[i] + q * c[i];
        }
    }
    let bits = |array: &[f64]| array.iter().fold(0_u64, |sum, x| sum.wrapping_add(x.to_bits())).wrapping_mul(mib << 10);
    fold([bits(&a), bits(&b), bits(&c)])
}

pub(crate) fn chase(mib: u64, steps: u64) -> u64 {
    let links = mib << 12;
    let place = (0..steps).fold(0_u64, |at, _| at.wrapping_mul(0x5851_f42d).wrapping_add(0x1405_7b7f) % links);
    fold([place])
}

pub(crate) fn tlb(pages: u64, rounds: u64) -> u64 {
    // In round r the word of page p, which began as p + 1, has grown by r.
    fold((0..rounds).map(|round| (1..=pages).map(|word| word + round).sum()))
}

pub(crate) fn syscall(n: u64) -> u64 {
    fold([n])
}

pub(crate) fn pagefault(pages: u64, rounds: u64) -> u64 {
    let numbers = pages * (pages + 1) / 2;
    fold([numbers, (1..=rounds).fold(0, |sum: u64, factor| sum.wrapping_add(numbers.wrapping_mul(factor)))])
}

pub(crate) fn noop() -> u64 {
    fold([])
}

pub(crate) fn preempt(rounds: u64) -> u64 {
    // A round fills 16 vector registers of two words, then 13 general registers; only the first word is computed with.
    let words: Vec<u64> = random(1).step_by(45).take(rounds as usize).collect();
    fold(words.into_iter().map(|word| {
        let first = 1.0 + (word >> 12) as f64 / (1_u64 << 52) as f64;
        (0..5000).fold(first, |x, _| x - 1.0 / x).to_bits()
    }))
}

pub(crate) fn sleep(n: u64, us: u64) -> u64 {
    fold([n, us])
}
