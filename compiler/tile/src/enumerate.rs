//! All legal schedules of a kernel, by constraint propagation.
//!
//! Dimensions are assigned in the order of their table. A constraint whose dimensions are all assigned but one filters the
//! domain of that one (forward checking), so dead branches are never entered. What only the lowering knows (shared memory, registers)
//! is learnt: a schedule that passed a limit rules out every schedule that is nowhere smaller in the growing dimensions and equal in the others.

use crate::dimensions::{DIMENSIONS, from_values, position};
use crate::lower::{LowerError, lower};
use crate::lowered::LoweredKernel;
use crate::machine::MachineModel;
use crate::print::print;
use crate::schedule::{Schedule, ShapeClass};
use einloom_plan::ir::FusedPlan;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};

/// A relation between dimensions that every schedule worth lowering satisfies.
pub struct Constraint {
    /// What it says.
    pub name: &'static str,
    /// Names of its dimensions.
    pub over: &'static [&'static str],
    /// On values in the order of `over`.
    pub holds: fn(&[u32], &MachineModel) -> bool,
}

/// Registers of a thread that hold no values: what the fragment layout leaves at best.
const LEAST_OTHER_REGISTERS: u64 = 24;

/// All constraints.
pub const CONSTRAINTS: &[Constraint] = &[
    Constraint {
        name: "rows fill whole fragments of all warps, at most 4 a warp, and one in a specialised program",
        over: &["rows", "warps", "specialised"],
        holds: |v, _| v[0].is_multiple_of(16 * v[1]) && v[0] / v[1] <= if v[2] == 0 { 64 } else { 16 },
    },
    Constraint {
        name: "warps are a power of two, or 1 to 3 warpgroups of a specialised program",
        over: &["warps", "specialised"],
        holds: |v, _| {
            if v[1] == 0 {
                v[0].is_power_of_two()
            } else {
                matches!(v[0], 4 | 8 | 12)
            }
        },
    },
    Constraint {
        name: "the machine has specialised programs",
        over: &["specialised"],
        holds: |v, m| v[0] == 0 || m.specialises,
    },
    Constraint {
        name: "specialised programs keep one tile on the way at least, and uniform ones four at most",
        over: &["stages", "specialised"],
        holds: |v, _| if v[1] == 0 { v[0] <= 4 } else { v[0] >= 2 },
    },
    Constraint {
        name: "a multiprocessor holds one or two specialised blocks",
        over: &["blocks", "specialised"],
        holds: |v, _| v[1] == 0 || v[0] <= 2,
    },
    Constraint {
        name: "specialised programs read left operands from shared memory",
        over: &["left", "specialised"],
        holds: |v, _| v[0] == 0 || v[1] == 0,
    },
    Constraint {
        name: "overlap is of specialised programs",
        over: &["overlap", "specialised"],
        holds: |v, _| v[0] <= v[1],
    },
    Constraint {
        name: "persistence is of specialised programs",
        over: &["persistent", "specialised"],
        holds: |v, _| v[0] <= v[1],
    },
    Constraint {
        name: "fetching ahead is of persistent blocks",
        over: &["ahead", "persistent"],
        holds: |v, _| v[0] <= v[1],
    },
    Constraint {
        name: "turns are of several warpgroups, and take overlap",
        over: &["turns", "overlap", "warps"],
        holds: |v, _| v[0] == 0 || (v[1] == 1 && v[2] > 4),
    },
    Constraint {
        name: "a reference of the first tile takes overlap",
        over: &["first", "overlap"],
        holds: |v, _| v[0] <= v[1],
    },
    Constraint {
        name: "threads of all blocks fit a multiprocessor",
        over: &["warps", "blocks", "specialised"],
        holds: |v, m| u64::from((v[0] + 4 * v[2]) * v[1]) * 32 <= m.threads_per_sm,
    },
    Constraint {
        name: "one score tile fits the registers",
        over: &["rows", "cols", "warps", "blocks"],
        holds: |v, m| {
            let lane = u64::from(v[0] / v[2] / 16) * u64::from(v[1] / 8) * 4;
            let threads = u64::from(v[2] * v[3]) * 32;
            lane + LEAST_OTHER_REGISTERS <= (m.registers_per_sm / threads.max(1)).min(m.registers_per_thread)
        },
    },
];

/// Points of the table that satisfy all constraints, in lexicographic order.
pub fn points(machine: &MachineModel) -> Vec<Vec<u32>> {
    let domains: Vec<Vec<u32>> = DIMENSIONS.iter().map(|d| d.domain.to_vec()).collect();
    let scopes: Vec<Vec<usize>> = CONSTRAINTS
        .iter()
        .map(|c| c.over.iter().filter_map(|name| position(name)).collect())
        .collect();
    let mut found = Vec::new();
    assign(&mut Vec::new(), domains, &scopes, machine, &mut found);
    found
}

fn assign(
    prefix: &mut Vec<u32>,
    domains: Vec<Vec<u32>>,
    scopes: &[Vec<usize>],
    machine: &MachineModel,
    found: &mut Vec<Vec<u32>>,
) {
    let at = prefix.len();
    let Some(values) = domains.get(at) else {
        found.push(prefix.clone());
        return;
    };
    for value in values.clone() {
        prefix.push(value);
        if let Some(narrowed) = propagate(prefix, &domains, scopes, machine) {
            assign(prefix, narrowed, scopes, machine, found);
        }
        prefix.pop();
    }
}

/// Filters domains by constraints with one dimension left; `None` if a constraint fails or a domain is empty.
fn propagate(
    prefix: &[u32],
    domains: &[Vec<u32>],
    scopes: &[Vec<usize>],
    machine: &MachineModel,
) -> Option<Vec<Vec<u32>>> {
    let mut domains = domains.to_vec();
    for (constraint, scope) in CONSTRAINTS.iter().zip(scopes) {
        let open: Vec<usize> = scope.iter().copied().filter(|d| *d >= prefix.len()).collect();
        let holds = |free: Option<(usize, u32)>| {
            let values: Vec<u32> = scope
                .iter()
                .map(|d| match free {
                    Some((f, value)) if f == *d => value,
                    _ => prefix[*d],
                })
                .collect();
            (constraint.holds)(&values, machine)
        };
        match open[..] {
            [] if !holds(None) => return None,
            [free] => {
                domains[free].retain(|value| holds(Some((free, *value))));
                if domains[free].is_empty() {
                    return None;
                }
            }
            _ => {}
        }
    }
    Some(domains)
}

/// Points by the values of the dimensions that do not grow: what is learnt in one group says nothing about another.
pub fn groups(points: Vec<Vec<u32>>) -> Vec<Vec<Vec<u32>>> {
    let mut groups: BTreeMap<Vec<u32>, Vec<Vec<u32>>> = BTreeMap::new();
    for point in points {
        let fixed = DIMENSIONS.iter().zip(&point).filter(|(d, _)| !d.grows);
        groups.entry(fixed.map(|(_, v)| *v).collect()).or_default().push(point);
    }
    groups.into_values().collect()
}

/// A schedule of a kernel and its program.
#[derive(Clone, Debug)]
pub struct Legal {
    pub schedule: Schedule,
    pub kernel: LoweredKernel,
    /// Equal programs have equal fingerprints.
    pub fingerprint: u64,
}

/// The legal schedules of kernel `kernel` in one group of points, in their order.
pub fn legal_of(
    plan: &FusedPlan,
    kernel: usize,
    machine: &MachineModel,
    shape: &ShapeClass,
    points: &[Vec<u32>],
) -> Vec<Legal> {
    let mut found: Vec<Legal> = Vec::new();
    let mut refused: Vec<&Vec<u32>> = Vec::new();
    for point in points {
        if refused.iter().any(|worst| covers(worst, point)) {
            continue;
        }
        let schedule = from_values(point);
        match lower(plan, kernel, &schedule, machine, shape) {
            Ok(lowered) => {
                let mut hasher = DefaultHasher::new();
                print(&lowered.program).hash(&mut hasher);
                found.push(Legal {
                    schedule,
                    kernel: lowered,
                    fingerprint: hasher.finish(),
                });
            }
            Err(LowerError::Limit { .. }) => refused.push(point),
            Err(_) => {}
        }
    }
    found
}

/// Drops schedules whose program an earlier one has: a dimension may mean nothing to a kernel.
pub fn distinct(mut all: Vec<Legal>) -> Vec<Legal> {
    let mut seen = BTreeSet::new();
    all.retain(|one| seen.insert(one.fingerprint));
    all
}

/// Every legal schedule of kernel `kernel`; of schedules with one program the first.
pub fn legal(plan: &FusedPlan, kernel: usize, machine: &MachineModel, shape: &ShapeClass) -> Vec<Legal> {
    let groups = groups(points(machine));
    let of = |points: &Vec<Vec<u32>>| legal_of(plan, kernel, machine, shape, points);
    distinct(groups.iter().flat_map(of).collect())
}

/// Whether a refusal of `worst` implies one of `point`.
fn covers(worst: &[u32], point: &[u32]) -> bool {
    let one = |((d, w), p): ((&crate::dimensions::Dimension, &u32), &u32)| if d.grows { w <= p } else { w == p };
    DIMENSIONS.iter().zip(worst).zip(point).all(one)
}

/// Schedules of `among` that differ from `of` in one dimension by one step, or in two dimensions by one step each; steps skip values that no
/// legal schedule has.
pub fn neighbours(of: &Schedule, among: &[Schedule]) -> Vec<Schedule> {
    let own = crate::dimensions::values(of);
    let all: Vec<Vec<u32>> = among.iter().map(crate::dimensions::values).collect();
    let steps = |d: usize| -> (Option<u32>, Option<u32>) {
        let below = all.iter().map(|v| v[d]).filter(|v| *v < own[d]).max();
        let above = all.iter().map(|v| v[d]).filter(|v| *v > own[d]).min();
        (below, above)
    };
    let steps: Vec<_> = (0..own.len()).map(steps).collect();
    let mut near: Vec<(usize, &Schedule)> = Vec::new();
    for (schedule, values) in among.iter().zip(&all) {
        let different: Vec<usize> = (0..own.len()).filter(|d| values[*d] != own[*d]).collect();
        let is_step = |d: &usize| steps[*d].0 == Some(values[*d]) || steps[*d].1 == Some(values[*d]);
        if matches!(different.len(), 1 | 2) && different.iter().all(is_step) {
            near.push((different.len(), schedule));
        }
    }
    near.sort_by_key(|(count, _)| *count);
    near.into_iter().map(|(_, schedule)| schedule.clone()).collect()
}
