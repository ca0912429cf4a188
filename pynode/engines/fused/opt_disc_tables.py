"""Where the numbers of an adaptive solve stand: entries of its tables, which kernels and plans agree on.

A *record* is one step: state, six slopes, and then the next record, whose state and first slope are this step's last
stage.  Its parts are `d[STATE]` numbers a sample, all samples one after the other; `SIZE` is a part.
"""

from __future__ import annotations

from pynode.engines.fused.pairs import DEGREE, STAGES

# --- the plan: integers ----------------------------------------------------------------------------------------------
BATCH, TILES, GROUPS, SLOTS, OUTPUTS, BACKSOLVE, NORM, KEEP, MAX_STEPS = range(9)
SIZE, COUNT = 9, 10  # of a part of a record, padded; entries of the whole state
# in this table: the description, the first tile of each group, that of each tile; theta's sizes, padded and plain
AT_DESCRIPTION, AT_GROUPS, AT_BOUNDS, AT_PADDED, AT_SIZES = 11, 12, 13, 14, 15
# in memory: each worker's scratch, the adjoint's and the state's record, states at the output times, cotangents
AT_SCRATCH, AT_ADJOINT, AT_STATE, AT_STATES, AT_GRADS, AT_SUM, AT_FLAT = 16, 17, 18, 19, 20, 21, 22
FLAT = 23  # size of one vector of theta's tensors, each padded
SCRATCH_SIZE = 24
C_FIELD, C_GATES, C_TAPE, C_ROWS, C_SLOPE = 25, 26, 27, 28, 29  # in a worker's scratch
AT_PARTIAL, AT_WEIGHTS, AT_TIMES = 30, 31, 32  # in the run
LANDING = 33  # 1: the forward solve steps onto output times
HEAD = 34

MIXED, SEMINORM, RMS = range(3)

RECORD = STAGES  # parts from one record to the next
PARTS = STAGES + 2  # of a record together with what it has of the next
NEW, LAST = STAGES, STAGES + 1  # the next record's state, and its first slope

# --- the plan: floats ------------------------------------------------------------------------------------------------
N_GAMMA, N_TOLERANCES = 0, 1  # absolute and relative, forward and then backward
N_EXPONENT, N_EXPONENT_BEFORE = 5, 6
N_C, N_A, N_E = 7, 7 + STAGES, 7 + STAGES + STAGES * STAGES
N_INTERPOLANT = N_E + STAGES
N_DRIFT = N_INTERPOLANT + STAGES * DEGREE  # the largest drift that is accepted, and its absolute and relative unit
NUMBERS = N_DRIFT + 3

# --- the run: floats, written while it goes on -----------------------------------------------------------------------
STATUS = 0
TIME, STEP = 1, 2  # where it is, and the step that is being tried
PROPOSED = 3  # the step that the last error suggests, which may have to be cut
ERROR, ERROR_BEFORE = 4, 5
END, LANDS = 6, 7  # where it may not step over, and whether this step ends there
STEPS, CAPACITY = 8, 9  # records of the forward solve, and how many fit
OUTPUT = 10  # the next output time
N_F, N_VJP, N_ACCEPTED, N_REJECTED = 11, 12, 13, 14
SLOPE_NORM = 15
WAS_FINITE = 16  # whether the last error estimate was
TAPE_READY = 17  # whether the tape is that of the present time and state
HINT = 18  # the record of the forward solve that the present time lies in
SUMS = 19  # a few sums of squares
DRIFT, DRIFT_OUTPUT, DRIFT_ROW = 22, 23, 24  # the largest drift of a sample, at which output time, and which sample
RUN_HEAD = 25

RUNNING, DONE, FULL, NON_FINITE, UNDERFLOW, EXHAUSTED, DRIFTED = range(7)
"""STATUS; FULL asks for room for more records."""

# one worker's weights of an attempt
W_A, W_E, W_SCALE = 0, STAGES * STAGES, STAGES * STAGES + STAGES
W_STATE_A, W_STATE_E = W_SCALE + STAGES, W_SCALE + STAGES + STAGES * STAGES
W_PLACE, W_BETWEEN = W_STATE_E + STAGES, W_STATE_E + 2 * STAGES
WEIGHTS = W_BETWEEN + STAGES * STAGES

# --- addresses -------------------------------------------------------------------------------------------------------
IN_STATE, IN_STATES, IN_COTANGENT, IN_STATE_BAR, IN_PROBES, IN_RECORDS, IN_TIMES, IN_THETA = range(8)
"""theta's tensors come last, then their cotangents, then two internal vectors that are laid out like them."""

# --- sums of theta's cotangents, of which each group has its own -----------------------------------------------------
# where g does not control the steps: the first stage's cotangent, g after the step that is tried, g, one not wanted
FIRST, TRIED, REACHED, UNWANTED = range(4)
# else one for each stage; the last stage's is the last in either case
