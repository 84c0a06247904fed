//! The `TileProgram`: one kernel on tiles. Structured SSA over scalars, vectors and two-dimensional tiles, with explicit shared
//! memory, copies, stages and barriers. Everything a target needs is here; nothing of LLVM.
//!
//! # Axes and shapes
//! An [`Axis`] is a tile dimension of fixed `size` (a tile of queries, a tile of keys, a head width padded to a multiple of 16). A value has a [`Type`]:
//! optional row axis, optional column axis, an element type. Neither: a *scalar*, the same in every thread. Only `rows`: a *row vector*
//! (one element a row). Only `cols`: a *column vector*. Both: a *tile*. `Map` broadcasts scalars, row vectors and column vectors to tiles.
//!
//! # Distribution (the fragment layout; one for all targets)
//! A block has `warps` warps. Rows of the row axis are split into contiguous runs of `size / warps` rows (a multiple of 16) for each warp; a run is `size / warps / 16`
//! fragments of 16 rows. In a fragment, lane `l` holds rows `l/4` and `l/4 + 8`, and of every 8 columns the pair `2 (l%4)`, `2 (l%4) + 1`. So a
//! tile costs `size_rows / warps / 16 * size_cols / 8 * 4` registers a lane; a row vector is held 4 times (by the quad), a column vector 8 times. All warps hold all columns.
//! A `partial` row vector holds in each lane of the quad a part whose combination (by the reduction's operator) is the element: sums over
//! tiles stay partial in the loop, [`Op::QuadReduce`] completes them.
//!
//! # Meaning
//! The interpreter executes the program as a sequential program over whole tiles in f32/i32 with rounding at `Cast`, at `Dot` operands and at stores.
//! Shared memory is written by [`Stmt::CopyAsync`] (complete only after `Commit` and a `Wait(n)` that leaves at most the `n` newest groups open) and [`Stmt::StoreShared`]; a reader needs a `Barrier`
//! between the completed write and its read, and a writer a `Barrier` between the last read and the overwrite; the interpreter checks both.
//!
//! # Specialised programs
//! With [`Roles::Specialised`] the block has besides its `warps` *consumer* warps one *producer* warpgroup. The program stays one sequential program: the producer
//! executes its slice (every [`Stmt::Fill`], with the loops, conditions and scalars that these need), the consumers execute the rest. A buffer with
//! `ring` is a queue of `stages` tiles from the producer to the consumers: the n-th tile (`count` = n, from 0) lies in stage `n % stages`;
//! a fill waits until the stage's last tile is released, [`Stmt::Await`] waits for a tile, [`Stmt::Release`] gives its stage back (all dots that read it are complete).
//! Every buffer sees the counts 0, 1, 2, .. in order, over the whole life of the block. In program order a fill finds its stage free; this rules out deadlocks.
//! Matrix dots are *asynchronous*: a result is pending until a [`Stmt::DotWait`], and may until then be used only as the `acc` of another dot.
//! No dot is pending where a loop or condition begins or ends. A `Barrier` is one of the consumers, and orders their shared stores before later dots.
//! Consumers hold 16 rows a warp: one fragment, whose warpgroup's 64 rows are the rows of one matrix instruction.
//!
//! A program that reads [`Op::Block`] is *persistent*: it does not read [`Op::Grid`] but loops over the linear indices of the grid itself,
//! `block, block + blocks, ..`; it is launched with at most as many blocks as the device holds at once.
//! Loads and stores outside the tensor must be masked: an unmasked out-of-range access is a bug that the interpreter reports.

use einloom_cascade::expr::{DType, MapOp, ReduceOp};

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub struct $name(pub u32);
        impl $name {
            /// Position in the table that owns this id.
            pub fn index(self) -> usize { self.0 as usize }
        }
    )*};
}

ids! {
    /// A tile axis (`TileProgram::axes`).
    AxisId,
    /// A value (`TileProgram::values`).
    ValueId,
    /// A shared memory buffer (`TileProgram::buffers`).
    BufferId,
    /// A tensor parameter (`TileProgram::tensors`).
    TensorId,
}

/// Element types of values in registers and shared memory.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Elem {
    F32,
    F16,
    BF16,
    I32,
    I64,
    Bool,
}

/// A tile dimension.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Axis {
    pub name: String,
    /// Elements, a multiple of 8 as a column axis, of 16 * warps as a row axis, of 16 as the contracted axis of a matrix dot.
    pub size: u32,
}

/// Type of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Type {
    pub rows: Option<AxisId>,
    pub cols: Option<AxisId>,
    pub elem: Elem,
    /// Row vectors only: an unfinished quad reduction (module doc).
    pub partial: bool,
}

/// A tensor in global memory: pointer, and a stride in elements (i64, run-time) for each dimension but the last if `contiguous`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tensor {
    pub name: String,
    pub dtype: DType,
    pub rank: usize,
    /// The last dimension has stride 1.
    pub contiguous: bool,
    /// Guaranteed alignment in bytes of the base and of every stride but that of a contiguous dimension (16 allows 16-byte copies). What launches
    /// must fulfil: programs that were lowered demand no more than an element where they move one element at a time.
    pub align: u32,
    pub writable: bool,
}

/// A scalar parameter of the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScalarParam {
    pub name: String,
    /// F32, I32 or I64. Extents are I32 unless tensors can pass 2^31 rows (they are checked at launch).
    pub elem: Elem,
}

/// A shared memory buffer of `stages` tiles of `rows.size x cols.size` elements, `cols` contiguous, swizzled by the target as it likes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Buffer {
    pub name: String,
    pub rows: AxisId,
    pub cols: AxisId,
    pub elem: Elem,
    pub stages: u32,
    /// A queue between producer and consumers (module doc), laid out for box copies: column blocks of 128 bytes, each `rows` rows of 128 bytes.
    pub ring: bool,
}

/// How the threads of a block divide the program (module doc).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Roles {
    /// All warps execute everything.
    #[default]
    Uniform,
    /// `warps` consumer warps (a multiple of 4) and a producer warpgroup; registers of a thread of each, multiples of 8.
    Specialised {
        consumer_registers: u32,
        producer_registers: u32,
    },
}

/// A box of a tensor that one copy instruction of the target moves: `rows` elements along dimension `row_dim` (none: 1 element), and of the last dimension
/// (contiguous) a block of 128 bytes; outside the tensor it reads 0. The descriptor that a launch passes for it holds base, extents and strides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorMap {
    pub tensor: TensorId,
    /// A dimension other than the last.
    pub row_dim: Option<usize>,
    /// At most 256.
    pub rows: u32,
}

/// The way of a stored tile through shared memory (specialised programs): each warp puts its rows into `buffer` and starts copying the box to the tensor. The mask says no
/// more than what the copy does by itself: elements outside of the tensor are not written. Nothing else uses the buffer, and a warp only its own rows, so
/// it takes no barrier of the block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passage {
    /// Of the axes of the tile and the elements of the tensor, one stage, laid out as rings.
    pub buffer: BufferId,
    /// In `TileProgram::maps`: of the tensor, 16 rows.
    pub map: usize,
}

/// Where a [`Stmt::Fill`] takes a tile from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FillSource {
    /// Element `(r, c)` = tensor of `TileProgram::maps[map]` at `index` (no `Lane`) with `r` added in its `row_dim`, and `col0 + c` in the last dimension; 0 outside
    /// the tensor. `col0` is a multiple of 16 bytes.
    Box { map: usize, index: Vec<Ix>, col0: Ix },
    /// As [`Stmt::CopyAsync`].
    Rows {
        tensor: TensorId,
        index: Vec<Ix>,
        col0: Ix,
        valid: Option<Ix>,
        cols: u32,
    },
}

/// Scalar or per-row index arithmetic evaluated where it is used (at a copy, for the row a thread happens to copy).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ix {
    Const(i64),
    /// A scalar value of the program (i32 or i64).
    Value(ValueId),
    /// The position in the buffer's row axis, `0..size`.
    Lane,
    /// Int arithmetic and comparisons of `MapOp` (Add Sub Mul IDiv IMod Min Max Neg Abs Lt Le Eq Ne And Or Not).
    Map(MapOp, Vec<Ix>),
    /// An element of an integer tensor, one index for each dimension; in bounds by construction.
    Gather(TensorId, Vec<Ix>),
}

/// An operand of a dot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operand {
    /// A tile in registers; as the left operand of a matrix dot (rows = result rows, cols = contracted axis).
    Register(ValueId),
    /// A stage of a buffer (`None`: stage 0), contracted over whichever of its axes is the dot's `over`.
    Shared(BufferId, Option<ValueId>),
}

/// How a dot is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DotKind {
    /// Matrix unit: both operands F16 or both BF16, f32 accumulation.
    Matrix,
    /// One fused multiply-add after another in f32, in ascending order of the contracted axis; both operands in shared memory, any element type.
    Scalar,
}

/// Machine-level pointwise functions beyond `MapOp`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Math {
    /// A pointwise function of the language on f32, i32, i64 or bool; reals in f32 to full f32 accuracy (2 ulp), `IDiv`/`IMod` floor.
    Map(MapOp),
    /// `a * b + c`, rounded once.
    Fma,
    /// `2^x`, relative error about 2^-22, -inf gives 0 (the fast path of exponentials).
    Exp2Fast,
    /// `1 / x`, relative error about 2^-23 (the fast path of divisions).
    ReciprocalFast,
    /// `tanh x`, relative error 2^-11.
    TanhFast,
    /// `[condition, then, otherwise]`.
    Select,
}

impl FillSource {
    /// All index expressions.
    pub fn indices(&self) -> impl Iterator<Item = &Ix> {
        let (index, col0, valid) = match self {
            FillSource::Box { index, col0, .. } => (index, col0, None),
            FillSource::Rows { index, col0, valid, .. } => (index, col0, valid.as_ref()),
        };
        index.iter().chain([col0]).chain(valid)
    }
}

/// A pure operation. Shapes of arguments join (module doc).
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// A real constant in every element of the declared type.
    Real(f64),
    /// An int or bool constant.
    Int(i64),
    /// Scalar parameter `TileProgram::scalars[i]`.
    Param(usize),
    /// Coordinate of this block along `TileProgram::grid[i]` (I32).
    Grid(usize),
    /// Linear index of this block (I32): persistent programs only.
    Block,
    /// Number of blocks of the launch (I32): persistent programs only.
    Blocks,
    /// `0, 1, ..` along the type's only axis (I32).
    Lane,
    Math(Math, Vec<ValueId>),
    /// Conversion to the declared element type (reals to nearest even; i32 <-> i64; bool to int; int to real).
    Cast(ValueId),
    /// Elements of a tensor at the joined shape of the indices (one for each dimension) and the mask (bool); 0 where the mask is false. Type's elem is
    /// the tensor's storage type widened to F32 / I32 / I64 / Bool.
    Load {
        tensor: TensorId,
        index: Vec<ValueId>,
        mask: Option<ValueId>,
    },
    /// A stage of a buffer (`None`: stage 0) in registers, in the buffer's type: its rows and columns or, of 16-bit
    /// buffers, the transpose, as the type says. Uniform programs only.
    LoadShared {
        buffer: BufferId,
        stage: Option<ValueId>,
    },
    /// Reduces a tile's columns: a row vector (`partial` if the type says so). Sum, Max, Min, Any, All on F32/I32/Bool.
    RowReduce(ReduceOp, ValueId),
    /// Completes a partial row vector.
    QuadReduce(ReduceOp, ValueId),
    /// `acc + sum over axis `over` of left * right`, F32, rows of the left and columns of the right.
    Dot {
        left: Operand,
        right: Operand,
        over: AxisId,
        acc: Option<ValueId>,
        kind: DotKind,
    },
}

/// A loop-carried value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoopValue {
    /// Value before the first iteration.
    pub init: ValueId,
    /// The name inside the body.
    pub param: ValueId,
    /// Value at the end of the body.
    pub next: ValueId,
    /// The name after the loop.
    pub result: ValueId,
}

/// A statement.
#[derive(Clone, Debug, PartialEq)]
pub enum Stmt {
    Let(ValueId, Op),
    /// `for var in lo..hi` (I32 scalars, uniform), not entered if `hi <= lo`.
    For {
        var: ValueId,
        lo: ValueId,
        hi: ValueId,
        carried: Vec<LoopValue>,
        body: Vec<Stmt>,
        label: String,
    },
    /// Runs the body iff the scalar bool holds (uniform); values defined inside are not visible outside.
    If {
        cond: ValueId,
        body: Vec<Stmt>,
    },
    /// For the fragments of rows (16 rows of one warp) in which the row vector `cond` (Bool) holds for some row, every `result` is what the body
    /// makes (`next`); elsewhere it is `init` (row vectors and tiles; `param` is unused). A scalar `cond` holds for all rows or none. The body has only
    /// `Let`s without dots.
    Guard {
        cond: ValueId,
        carried: Vec<LoopValue>,
        body: Vec<Stmt>,
    },
    /// Writes a value (scalar, vector or tile, rounded to the tensor's type) at the joined shape of value and indices where the mask holds.
    Store {
        tensor: TensorId,
        index: Vec<ValueId>,
        value: ValueId,
        mask: Option<ValueId>,
        /// A way that saves the lanes from writing themselves. What it means stays the same.
        through: Option<Passage>,
    },
    /// Writes a tile of registers into a stage of a buffer of the same axes (or transposed: buffer rows = value cols), rounded to its type.
    StoreShared {
        buffer: BufferId,
        stage: Option<ValueId>,
        value: ValueId,
    },
    /// Starts copying a tile: element `(r, c)` of the stage = tensor element at `index(r)` in all dimensions but the last and `col0 + c` in the last,
    /// if `valid(r)` and `c < cols`; 0 otherwise. The tensor is `contiguous` and of the buffer's element type.
    CopyAsync {
        buffer: BufferId,
        stage: Option<ValueId>,
        tensor: TensorId,
        index: Vec<Ix>,
        col0: Ix,
        valid: Option<Ix>,
        cols: u32,
    },
    /// Closes the current group of copies.
    Commit,
    /// Waits until at most `n` groups are open.
    Wait(u32),
    /// Barrier of the block; in specialised programs of the consumers.
    Barrier,
    /// By the producer: tile `count` (I32) of a ring, started as soon as its stage is free (module doc).
    Fill {
        buffer: BufferId,
        count: ValueId,
        source: FillSource,
    },
    /// By the consumers: waits for tile `count` of a ring.
    Await {
        buffer: BufferId,
        count: ValueId,
    },
    /// By the consumers: tile `count` of a ring is no longer read.
    Release {
        buffer: BufferId,
        count: ValueId,
    },
    /// Waits until at most the `n` newest matrix dots are pending (specialised programs).
    DotWait(u32),
    /// The warpgroups of consumers take turns, in order and round and round: waits for this one's turn (specialised programs). Values do not depend on it.
    Take,
    /// Ends this warpgroup's turn. `Take` and `Pass` alternate on every path, and a path begins with `Take`.
    Pass,
}

/// Loops behind one another, by their variables, whose ranges one after the other are `lo..hi` (what an empty range starts and ends with has no meaning).
/// `lo` and `hi` are known in front of the first one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Course {
    pub loops: Vec<ValueId>,
    pub lo: ValueId,
    pub hi: ValueId,
}

/// One grid dimension; block index = row-major position over `grid`, launched as one linear grid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GridDim {
    pub name: String,
    /// Number of coordinates, over `TileProgram::scalars`; see [`Extent`].
    pub extent: Extent,
    /// Coordinates run from high to low (longest first for causal domains).
    pub reversed: bool,
}

/// Grid arithmetic, evaluated on the host at launch and repeated in the kernel to unpack the block index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Extent {
    Const(i64),
    /// `TileProgram::scalars[i]`.
    Param(usize),
    /// Add, Sub, Mul, IDiv, IMod, Min, Max.
    Map(MapOp, Vec<Extent>),
    CeilDiv(Box<Extent>, i64),
}

/// One kernel.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct TileProgram {
    pub name: String,
    /// Warps that hold values (in specialised programs the consumers).
    pub warps: u32,
    pub roles: Roles,
    /// Blocks that should fit one multiprocessor (a register and shared memory budget).
    pub blocks_per_sm: u32,
    pub tensors: Vec<Tensor>,
    pub scalars: Vec<ScalarParam>,
    /// Descriptors, passed after the scalars.
    pub maps: Vec<TensorMap>,
    pub axes: Vec<Axis>,
    pub buffers: Vec<Buffer>,
    pub values: Vec<Type>,
    pub grid: Vec<GridDim>,
    /// Loops that are parts of one; says nothing that the body does not.
    pub courses: Vec<Course>,
    pub body: Vec<Stmt>,
}

impl TileProgram {
    /// Threads of a block.
    pub fn threads(&self) -> u32 {
        let producer = match self.roles {
            Roles::Uniform => 0,
            Roles::Specialised { .. } => 128,
        };
        self.warps * 32 + producer
    }

    /// Whether blocks loop over the grid themselves (module doc).
    pub fn persistent(&self) -> bool {
        fn reads(body: &[Stmt]) -> bool {
            body.iter().any(|stmt| match stmt {
                Stmt::Let(_, op) => matches!(op, Op::Block | Op::Blocks),
                Stmt::For { body, .. } | Stmt::If { body, .. } | Stmt::Guard { body, .. } => reads(body),
                _ => false,
            })
        }
        reads(&self.body)
    }
}
