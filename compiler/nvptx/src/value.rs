//! Values in registers: which elements of a value one lane holds, and in which order.
//!
//! The distribution is that of the tile program (`einloom_tile::ir`). Element order of one lane:
//! row vectors `[fragment][half]` (rows `16 fragment + 8 half + lane/4` of the warp's run), column vectors `[group][parity]`
//! (columns `8 group + 2 (lane%4) + parity`), tiles `[fragment][group][half][parity]`. A 16-bit tile is kept in pairs: one i32 for
//! `[fragment][group][half]`, even column in the low half, which is the order of the matrix unit's operands.

use crate::cx::V;
use crate::error::{Res, invalid};
use einloom_tile::ir::{Elem, TileProgram, Type};

/// Shape of a value as one lane sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Form {
    Scalar,
    /// Number of 16-row fragments of a warp.
    Row(usize),
    /// Number of 8-column groups.
    Col(usize),
    /// Fragments, groups.
    Tile(usize, usize),
}

/// Place of an element in a lane.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Place {
    pub(crate) fragment: usize,
    pub(crate) group: usize,
    pub(crate) half: usize,
    pub(crate) parity: usize,
}

impl Form {
    /// Form of a type; refuses sizes that the distribution does not allow.
    pub(crate) fn of(program: &TileProgram, ty: Type) -> Res<Form> {
        let rows = ty
            .rows
            .map(|a| Self::fragments(program, program.axes[a.index()].size))
            .transpose()?;
        let cols = ty
            .cols
            .map(|a| Self::groups(program.axes[a.index()].size))
            .transpose()?;
        Ok(match (rows, cols) {
            (None, None) => Form::Scalar,
            (Some(m), None) => Form::Row(m),
            (None, Some(n)) => Form::Col(n),
            (Some(m), Some(n)) => Form::Tile(m, n),
        })
    }

    /// Fragments of a warp for a row axis.
    pub(crate) fn fragments(program: &TileProgram, size: u32) -> Res<usize> {
        let unit = 16 * program.warps;
        if size == 0 || !size.is_multiple_of(unit) {
            return invalid(format!(
                "a row axis of {size} is no multiple of 16 rows for each of {} warps",
                program.warps
            ));
        }
        Ok((size / unit) as usize)
    }

    /// 8-column groups of a column axis.
    pub(crate) fn groups(size: u32) -> Res<usize> {
        if size == 0 || !size.is_multiple_of(8) {
            return invalid(format!("a column axis of {size} is no multiple of 8"));
        }
        Ok((size / 8) as usize)
    }

    /// Elements that a lane holds.
    pub(crate) fn len(self) -> usize {
        match self {
            Form::Scalar => 1,
            Form::Row(m) => 2 * m,
            Form::Col(n) => 2 * n,
            Form::Tile(m, n) => 4 * m * n,
        }
    }

    /// Place of element `i`.
    pub(crate) fn place(self, i: usize) -> Place {
        let zero = Place {
            fragment: 0,
            group: 0,
            half: 0,
            parity: 0,
        };
        match self {
            Form::Scalar => zero,
            Form::Row(_) => Place {
                fragment: i / 2,
                half: i % 2,
                ..zero
            },
            Form::Col(_) => Place {
                group: i / 2,
                parity: i % 2,
                ..zero
            },
            Form::Tile(_, n) => Place {
                fragment: i / (4 * n),
                group: i / 4 % n,
                half: i / 2 % 2,
                parity: i % 2,
            },
        }
    }

    /// Position of the element that a broadcast to `place` reads.
    pub(crate) fn position(self, place: Place) -> usize {
        match self {
            Form::Scalar => 0,
            Form::Row(_) => 2 * place.fragment + place.half,
            Form::Col(_) => 2 * place.group + place.parity,
            Form::Tile(_, n) => ((place.fragment * n + place.group) * 2 + place.half) * 2 + place.parity,
        }
    }

    /// Position of a pair of columns in a 16-bit tile.
    pub(crate) fn pair_position(self, fragment: usize, group: usize, half: usize) -> usize {
        self.position(Place {
            fragment,
            group,
            half,
            parity: 0,
        }) / 2
    }

    /// Form of a broadcast of both.
    pub(crate) fn join(self, other: Form) -> Res<Form> {
        let fail = || invalid("values of different axes are combined");
        Ok(match (self, other) {
            (Form::Scalar, f) | (f, Form::Scalar) => f,
            (Form::Row(m), Form::Col(n)) | (Form::Col(n), Form::Row(m)) => Form::Tile(m, n),
            (Form::Row(m), Form::Tile(a, n)) | (Form::Tile(a, n), Form::Row(m)) if a == m => Form::Tile(m, n),
            (Form::Col(n), Form::Tile(m, b)) | (Form::Tile(m, b), Form::Col(n)) if b == n => Form::Tile(m, n),
            (a, b) if a == b => a,
            _ => return fail(),
        })
    }
}

/// A value of the program in one lane.
#[derive(Clone, Debug)]
pub(crate) struct Value<'c> {
    pub(crate) form: Form,
    pub(crate) elem: Elem,
    /// Elements in the order of the form, or pairs if [`Value::is_packed`].
    pub(crate) lanes: Vec<V<'c>>,
}

impl<'c> Value<'c> {
    /// Whether `lanes` holds pairs of 16-bit elements.
    pub(crate) fn is_packed(&self) -> bool {
        is_packed(self.form, self.elem)
    }

    /// The element that a broadcast to `place` reads; not for packed values.
    pub(crate) fn at(&self, place: Place) -> V<'c> {
        debug_assert!(!self.is_packed());
        self.lanes[self.form.position(place)]
    }

    /// The pair of columns of a packed value.
    pub(crate) fn pair(&self, fragment: usize, group: usize, half: usize) -> V<'c> {
        debug_assert!(self.is_packed());
        self.lanes[self.form.pair_position(fragment, group, half)]
    }
}

/// Whether a type is kept in pairs.
pub(crate) fn is_packed(form: Form, elem: Elem) -> bool {
    matches!(form, Form::Tile(..)) && is_half(elem)
}

/// A 16-bit real.
pub(crate) fn is_half(elem: Elem) -> bool {
    matches!(elem, Elem::F16 | Elem::BF16)
}

/// Bytes of an element in memory.
pub(crate) fn elem_bytes(elem: Elem) -> u32 {
    match elem {
        Elem::Bool => 1,
        Elem::F16 | Elem::BF16 => 2,
        Elem::F32 | Elem::I32 => 4,
        Elem::I64 => 8,
    }
}
