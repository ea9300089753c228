//! Quicksort of n random 64-bit numbers: Hoare's partition, median of three, insertion sort for short runs.
//!
//! What it shows: branches that cannot be predicted, and loads and stores that follow them.
#![no_std]
#![no_main]

use core::mem;

use rt::{Checksum, Random};

rt::program!(main, rt::sizes::QSORT, laps);

/// Runs up to this length are left to insertion sort.
const SHORT: usize = 16;

fn main([n]: [u64; 1]) {
    let numbers = rt::map::<u64>(n as usize);
    let shuffle = |numbers: &mut [u64]| {
        let mut random = Random::new(3);
        numbers.fill_with(|| random.bits());
    };

    let timed = rt::laps(numbers, shuffle, quicksort);
    if !numbers.is_sorted() {
        rt::fail(rt::EXIT_WRONG, format_args!("qsort: the numbers are not in order after sorting"));
    }
    rt::finish(Checksum::of(numbers.iter().copied()), timed.ticks);
}

fn quicksort(mut numbers: &mut [u64]) {
    while numbers.len() > SHORT {
        let middle = partition(numbers);
        let (low, high) = mem::take(&mut numbers).split_at_mut(middle);
        // Recursion on the shorter part keeps the stack logarithmic.
        let (shorter, longer) = if low.len() < high.len() { (low, high) } else { (high, low) };
        quicksort(shorter);
        numbers = longer;
    }
    insertion_sort(numbers);
}

/// Splits into a part of numbers up to the pivot and a part from the pivot on, neither empty.
fn partition(numbers: &mut [u64]) -> usize {
    let last = numbers.len() - 1;
    let pivot = median(numbers[0], numbers[last / 2], numbers[last]);
    // A median of three has a number that is not smaller, and one that is not larger, besides itself: so both scans stop
    // within the slice, and not both at its end.
    let (mut i, mut j) = (0, last);
    loop {
        while numbers[i] < pivot {
            i += 1;
        }
        while numbers[j] > pivot {
            j -= 1;
        }
        if i >= j {
            return j + 1;
        }
        numbers.swap(i, j);
        i += 1;
        j -= 1;
    }
}

fn median(a: u64, b: u64, c: u64) -> u64 {
    a.max(b).min(a.min(b).max(c))
}

fn insertion_sort(numbers: &mut [u64]) {
    for end in 1..numbers.len() {
        let number = numbers[end];
        let mut at = end;
        while at > 0 && numbers[at - 1] > number {
            numbers[at] = numbers[at - 1];
            at -= 1;
        }
        numbers[at] = number;
    }
}
