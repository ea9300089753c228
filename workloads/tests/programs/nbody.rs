//! The reference of `nbody`: the benchmark's own formulation, one array for each quantity, pairs by index.

use crate::reference::fold;

const DAYS: f64 = 365.24;
const SUN: f64 = 4.0 * std::f64::consts::PI * std::f64::consts::PI;

/// Mass, position and velocity of Sun, Jupiter, Saturn, Uranus and Neptune, as the benchmark gives them.
const BODIES: [[f64; 7]; 5] = [
    [1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0],
    [
        9.547_919_384_243_266e-4,
        4.841_431_442_464_72e0,
        -1.160_320_044_027_428_4e0,
        -1.036_220_444_711_231_1e-1,
        1.660_076_642_744_037e-3,
        7.699_011_184_197_404e-3,
        -6.904_600_169_720_63e-5,
    ],
    [
        2.858_859_806_661_308e-4,
        8.343_366_718_244_58e0,
        4.124_798_564_124_305e0,
        -4.035_234_171_143_214e-1,
        -2.767_425_107_268_624e-3,
        4.998_528_012_349_172e-3,
        2.304_172_975_737_639_3e-5,
    ],
    [
        4.366_244_043_351_563e-5,
        1.289_436_956_213_913_1e1,
        -1.511_115_140_169_863_1e1,
        -2.233_075_788_926_557_3e-1,
        2.964_601_375_647_616e-3,
        2.378_471_739_594_809_5e-3,
        -2.965_895_685_402_375_6e-5,
    ],
    [
        5.151_389_020_466_114_5e-5,
        1.537_969_711_485_091_6e1,
        -2.591_931_460_998_796_4e1,
        1.792_587_729_503_711_8e-1,
        2.680_677_724_903_893_2e-3,
        1.628_241_700_382_423e-3,
        -9.515_922_545_197_159e-5,
    ],
];

/// Energy and the state of all bodies after so many steps.
pub(crate) fn simulate(steps: u64) -> (f64, [[f64; 6]; 5]) {
    let mass = BODIES.map(|body| body[0] * SUN);
    let mut state = BODIES.map(|[_, x, y, z, vx, vy, vz]| [x, y, z, vx * DAYS, vy * DAYS, vz * DAYS]);
    let momentum: [f64; 3] = std::array::from_fn(|axis| (0..5).fold(0.0, |sum, i| sum + state[i][3 + axis] * mass[i]));
    for (axis, momentum) in momentum.into_iter().enumerate() {
        state[0][3 + axis] = -momentum / SUN;
    }
    let distance = |state: &[[f64; 6]; 5], i: usize, j: usize| {
        let d: [f64; 3] = std::array::from_fn(|axis| state[i][axis] - state[j][axis]);
        (d, d[0] * d[0] + d[1] * d[1] + d[2] * d[2])
    };
    for _ in 0..steps {
        for i in 0..5 {
            for j in i + 1..5 {
                let (d, squared) = distance(&state, i, j);
                let magnitude = 0.01 / (squared * squared.sqrt());
                for axis in 0..3 {
                    state[i][3 + axis] -= d[axis] * mass[j] * magnitude;
                    state[j][3 + axis] += d[axis] * mass[i] * magnitude;
                }
            }
        }
        for body in &mut state {
            for axis in 0..3 {
                body[axis] += 0.01 * body[3 + axis];
            }
        }
    }
    let mut energy = 0.0;
    for i in 0..5 {
        let [.., vx, vy, vz] = state[i];
        energy += 0.5 * mass[i] * (vx * vx + vy * vy + vz * vz);
        for j in i + 1..5 {
            energy -= mass[i] * mass[j] / distance(&state, i, j).1.sqrt();
        }
    }
    (energy, state)
}

pub(crate) fn nbody(steps: u64) -> u64 {
    let (energy, state) = simulate(steps);
    fold(std::iter::once(energy).chain(state.into_iter().flatten()).map(f64::to_bits))
}
