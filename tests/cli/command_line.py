"""What the tests of the command line share: a command's answer, and a whole conversion that takes seconds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Said:
    """What a command answered."""

    code: int
    out: str
    err: str


Command = Callable[..., Said]

TINY = """\
theseus 1
use "std/low_rank.thx"
param rank = 4
guide net = small_resnet(width = 2, classes = 10, channels = 1) trained by {
  lr  = 3e-3
  for = 3 steps
}
data = digits(canvas = 8, batch = 64)
task = classification(classes = 10)
rule conv {
  match Conv2d as c  in "layer3*"  expect 3
  replace with LowRankLinear(c, rank = rank)
}
schedule progressive {
  metric = cka
  init   = fit(samples = 256, metric = logits)
  lr     = 1e-3
  for    = 3 steps
  stage 2 { init = random }
}
recalibrate BatchNorm2d { over = 2 batches }
finetune {
  lr   = cosine(choose(none, 1e-3), warmup = 1 steps)
  loss = 0.5 * cross_entropy + 0.5 * distill(net, temperature = 2)
  for  = 4 steps
}
compare naive, random_start { lr = choose(1e-3, 3e-3) }
"""
