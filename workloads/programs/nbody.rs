//! The n-body problem: the Sun and the four giant planets, stepped by a symplectic integrator, as in the Computer Language
//! Benchmarks Game.
//!
//! What it shows: double-precision multiplication, division and square roots on a handful of numbers. Every operation is
//! exact to the last bit under IEEE 754, so engines must agree on the bits.
#![no_std]
#![no_main]

use core::arch::x86_64::{_mm_cvtsd_f64, _mm_set_sd, _mm_sqrt_sd};

use rt::Checksum;

rt::program!(main, rt::sizes::NBODY, laps);

const SOLAR_MASS: f64 = 4.0 * core::f64::consts::PI * core::f64::consts::PI;
const DAYS_PER_YEAR: f64 = 365.24;
const STEP: f64 = 0.01;

struct Body {
    position: [f64; 3],
    velocity: [f64; 3],
    mass: f64,
}

/// A body from its position (astronomical units), velocity (units per day) and mass (suns).
const fn body(position: [f64; 3], [vx, vy, vz]: [f64; 3], mass: f64) -> Body {
    let velocity = [vx * DAYS_PER_YEAR, vy * DAYS_PER_YEAR, vz * DAYS_PER_YEAR];
    Body { position, velocity, mass: mass * SOLAR_MASS }
}

/// Sun, Jupiter, Saturn, Uranus, Neptune.
fn bodies() -> [Body; 5] {
    [
        body([0.0; 3], [0.0; 3], 1.0),
        body(
            [4.841_431_442_464_72, -1.160_320_044_027_428_4, -1.036_220_444_711_231_1e-1],
            [1.660_076_642_744_037e-3, 7.699_011_184_197_404e-3, -6.904_600_169_720_63e-5],
            9.547_919_384_243_266e-4,
        ),
        body(
            [8.343_366_718_244_58, 4.124_798_564_124_305, -4.035_234_171_143_214e-1],
            [-2.767_425_107_268_624e-3, 4.998_528_012_349_172e-3, 2.304_172_975_737_639_3e-5],
            2.858_859_806_661_308e-4,
        ),
        body(
            [1.289_436_956_213_913_1e1, -1.511_115_140_169_863_1e1, -2.233_075_788_926_557_3e-1],
            [2.964_601_375_647_616e-3, 2.378_471_739_594_809_5e-3, -2.965_895_685_402_375_6e-5],
            4.366_244_043_351_563e-5,
        ),
        body(
            [1.537_969_711_485_091_6e1, -2.591_931_460_998_796_4e1, 1.792_587_729_503_711_8e-1],
            [2.680_677_724_903_893_2e-3, 1.628_241_700_382_423e-3, -9.515_922_545_197_159e-5],
            5.151_389_020_466_114_5e-5,
        ),
    ]
}

fn main([steps]: [u64; 1]) {
    let mut bodies = bodies();
    let prepare = |system: &mut [Body; 5]| {
        *system = self::bodies();
        rest_the_centre(system);
    };
    let timed = rt::laps(&mut bodies, prepare, |bodies| {
        for _ in 0..steps {
            advance(bodies);
        }
        energy(bodies)
    });
    let state = bodies.iter().flat_map(|body| body.position.into_iter().chain(body.velocity));
    rt::finish(Checksum::of(core::iter::once(timed.value).chain(state).map(f64::to_bits)), timed.ticks);
}

fn sqrt(x: f64) -> f64 {
    // SAFETY: sqrtsd is part of SSE2, and so of x86-64.
    unsafe { _mm_cvtsd_f64(_mm_sqrt_sd(_mm_set_sd(0.0), _mm_set_sd(x))) }
}

fn difference(a: &[f64; 3], b: &[f64; 3]) -> [f64; 3] {
    [a[0] - b[0], a[1] - b[1], a[2] - b[2]]
}

fn square(v: &[f64; 3]) -> f64 {
    v[0] * v[0] + v[1] * v[1] + v[2] * v[2]
}

/// Gives the Sun the velocity that makes the total momentum zero.
fn rest_the_centre(bodies: &mut [Body; 5]) {
    for axis in 0..3 {
        let momentum = bodies.iter().fold(0.0, |sum, body| sum + body.velocity[axis] * body.mass);
        bodies[0].velocity[axis] = -momentum / SOLAR_MASS;
    }
}

#[inline(never)]
fn advance(bodies: &mut [Body; 5]) {
    let mut rest = &mut bodies[..];
    while let Some((one, others)) = rest.split_first_mut() {
        for other in others.iter_mut() {
            let distance = difference(&one.position, &other.position);
            let squared = square(&distance);
            let magnitude = STEP / (squared * sqrt(squared));
            for (axis, along) in distance.into_iter().enumerate() {
                one.velocity[axis] -= along * other.mass * magnitude;
                other.velocity[axis] += along * one.mass * magnitude;
            }
        }
        rest = others;
    }
    for body in bodies {
        for axis in 0..3 {
            body.position[axis] += STEP * body.velocity[axis];
        }
    }
}

fn energy(bodies: &[Body; 5]) -> f64 {
    let mut energy = 0.0;
    for (i, one) in bodies.iter().enumerate() {
        energy += 0.5 * one.mass * square(&one.velocity);
        for other in &bodies[i + 1..] {
            energy -= one.mass * other.mass / sqrt(square(&difference(&one.position, &other.position)));
        }
    }
    energy
}
