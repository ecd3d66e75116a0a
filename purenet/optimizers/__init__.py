"""Optimizers by optax's protocol: `init` makes a state, `update` turns gradients into updates, `apply_updates` adds them.

    opt = pn.optimizers.chain(pn.optimizers.clip_by_global_norm(1.0), pn.optimizers.adamw(1e-3))
    state = opt.init(params)
    updates, state = opt.update(grads, state, params)
    params = pn.apply_updates(params, updates)

`transformation` holds the protocol; `descent`, `adaptive`, `moments` and `nesterov` the optimizers; `clipping`, `scaling` and
`adding` transform gradients before them; `combining` joins several; `searching` finds how far to go.
"""

from purenet.optimizers.adaptive import AdadeltaState, AdagradState, RmspropState, adadelta, adagrad, rmsprop
from purenet.optimizers.adding import (
    AddNoiseState,
    EmaState,
    TraceState,
    WeightDecaySchedule,
    add_decayed_weights,
    add_noise,
    ema,
    trace,
)
from purenet.optimizers.averaging import (
    LookaheadState,
    ScheduleFreeState,
    incremental_update,
    lookahead,
    schedule_free,
    schedule_free_adamw,
    schedule_free_eval_params,
    schedule_free_sgd,
)
from purenet.optimizers.belief import adabelief, yogi
from purenet.optimizers.clipping import adaptive_grad_clip, clip, clip_by_block_rms, clip_by_global_norm
from purenet.optimizers.combining import (
    ApplyIfFiniteState,
    MaskedNode,
    MaskedState,
    MultiStepsState,
    PartitionState,
    apply_if_finite,
    chain,
    masked,
    multi_steps,
    partition,
)
from purenet.optimizers.curvature import LbfgsState, lbfgs
from purenet.optimizers.descent import LionState, MomentumState, SgdState, lion, momentum, sgd
from purenet.optimizers.distance import ProdigyState, prodigy
from purenet.optimizers.factored import AdafactorState, adafactor
from purenet.optimizers.hyperparameters import InjectHyperparamsState, inject_hyperparams
from purenet.optimizers.layerwise import LarsState, lars
from purenet.optimizers.moments import AdamState, adam, adamax, adamw, lamb, radam
from purenet.optimizers.nesterov import NadamState, nadam
from purenet.optimizers.norms import global_norm
from purenet.optimizers.orthogonal import MuonState, muon
from purenet.optimizers.resilient import RpropState, rprop
from purenet.optimizers.scaling import (
    ReduceLROnPlateauState,
    ScaleByScheduleState,
    ZeroNansState,
    centralize,
    reduce_on_plateau,
    scale,
    scale_by_learning_rate,
    scale_by_schedule,
    zero_nans,
)
from purenet.optimizers.searching import LineSearch, line_search
from purenet.optimizers.sharpness import SAMState, normalize, sam
from purenet.optimizers.transformation import EmptyState, GradientTransformation, apply_updates

__all__ = [
    "AdadeltaState",
    "AdafactorState",
    "AdagradState",
    "AdamState",
    "AddNoiseState",
    "ApplyIfFiniteState",
    "EmaState",
    "EmptyState",
    "GradientTransformation",
    "InjectHyperparamsState",
    "LarsState",
    "LbfgsState",
    "LineSearch",
    "LionState",
    "LookaheadState",
    "MaskedNode",
    "MaskedState",
    "MomentumState",
    "MultiStepsState",
    "MuonState",
    "NadamState",
    "PartitionState",
    "ProdigyState",
    "ReduceLROnPlateauState",
    "RmspropState",
    "RpropState",
    "SAMState",
    "ScaleByScheduleState",
    "ScheduleFreeState",
    "SgdState",
    "TraceState",
    "WeightDecaySchedule",
    "ZeroNansState",
    "adabelief",
    "adadelta",
    "adafactor",
    "adagrad",
    "adam",
    "adamax",
    "adamw",
    "adaptive_grad_clip",
    "add_decayed_weights",
    "add_noise",
    "apply_if_finite",
    "apply_updates",
    "centralize",
    "chain",
    "clip",
    "clip_by_block_rms",
    "clip_by_global_norm",
    "ema",
    "global_norm",
    "incremental_update",
    "inject_hyperparams",
    "lamb",
    "lars",
    "lbfgs",
    "line_search",
    "lion",
    "lookahead",
    "masked",
    "momentum",
    "multi_steps",
    "muon",
    "nadam",
    "normalize",
    "partition",
    "prodigy",
    "radam",
    "reduce_on_plateau",
    "rmsprop",
    "rprop",
    "sam",
    "scale",
    "scale_by_learning_rate",
    "scale_by_schedule",
    "schedule_free",
    "schedule_free_adamw",
    "schedule_free_eval_params",
    "schedule_free_sgd",
    "sgd",
    "trace",
    "yogi",
    "zero_nans",
]
