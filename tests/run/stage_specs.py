"""Specs of stages of every kind; `SCHEDULE` stands where a test puts its schedule."""

from __future__ import annotations

HEAD = """\
theseus 1
use "std/low_rank.thx"
use "std/patterns.thx"
data = digits(canvas = 8, batch = 64)
task = classification(classes = 10)
"""
REGIONS = (
    HEAD
    + """\
guide net = small_resnet(width = 2, channels = 1)
module Wide(part, wide) {
  hidden = Conv2d(wide, 3, padding = 1, stride = part.in.shape[2] // part.out.shape[2])
  return hidden |> relu |> Conv2d(part.out.channels, 1)
}
rule block {
  match residual as r  in "layer*"  expect 3
  replace with Wide(r, wide = 3)
  align r.out
  align r.main ~ hidden  weight = 0.5
}
SCHEDULE
finetune { lr = 1e-3  for = 2 steps }
"""
)
PAIR = (
    HEAD
    + """\
guide  big   = small_resnet(width = 4, channels = 1)
target small = small_resnet(width = 2, channels = 1)
pair block { guide BasicBlock in big  target BasicBlock in small }
SCHEDULE
finetune { lr = 1e-3  for = 2 steps }
"""
)
