"""Every kind of mistake there is a diagnostic for: its code, its name, and what to do about it.

The hundreds are the phases: 0 files, 1 syntax, 2 words and values, 3 models and tracing, 4 matching,
5 planning, 6 data, 7 run folders, 8 training.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Code:
    """One kind of mistake."""

    title: str
    """A few words, lower case."""
    explanation: str
    """What it means and what to do, in full sentences."""


CODES: dict[str, Code] = {
    "THX001": Code(
        "file not found",
        "The path names no file. Paths in a spec are relative to the spec itself, then to the shipped `specs` folder.",
    ),
    "THX002": Code(
        "file cannot be read",
        "The file exists, but it is not readable as UTF-8 text: it is a folder, it is binary, or permission is missing.",
    ),
    "THX003": Code(
        "file exists already", "A command that writes a new file never overwrites one that is there."
    ),
    "THX101": Code(
        "unexpected text",
        "The grammar has no sentence that goes on like this. The label shows where reading stopped.",
    ),
    "THX102": Code(
        "misspelt keyword",
        "A word stands where only a keyword can stand and is close to one. Reading went on as if the keyword had been written.",
    ),
    "THX103": Code("missing or wrong language version", "The first sentence of every spec is `theseus 1`."),
    "THX104": Code(
        "unterminated string or block",
        "A string ends on the line that it starts on, and every `{`, `(` and `[` is closed.",
    ),
    "THX201": Code(
        "unknown name",
        "The name is defined nowhere: not a `param`, not a `module`, not a name that the sentence binds.",
    ),
    "THX202": Code("unknown setting", "The block has no setting of this name."),
    "THX203": Code("wrong kind of value", "The setting or argument takes another kind of value."),
    "THX204": Code(
        "missing or wrong unit",
        "A number of epochs, steps or batches carries its unit: `5 epochs`, `200 steps`, `100 batches`.",
    ),
    "THX205": Code(
        "wrong arguments", "The call has too many arguments, lacks one, or names one that does not exist."
    ),
    "THX206": Code(
        "defined twice", "The name or setting is given twice; the second label shows the first place."
    ),
    "THX207": Code("missing sentence", "The spec lacks something that it cannot do without."),
    "THX208": Code(
        "value out of range", "The value is of the right kind, but no such value makes sense here."
    ),
    "THX209": Code(
        "unknown word",
        "The word is not one of those this place knows (a metric, an optimizer, a data source, a task).",
    ),
    "THX210": Code(
        "unknown parameter on the command line",
        "`--set name=value` sets a `param` of the spec; there is none of this name.",
    ),
    "THX211": Code(
        "defined but never used",
        "A `param`, or a name in a `pattern`, that nothing reads is most often a typo in the place that should read it.",
    ),
    "THX212": Code(
        "sentence has no place here",
        "A file that others use defines modules and patterns only: it has no params, rules or schedule, and uses no file itself.",
    ),
    "THX220": Code(
        "settings contradict each other",
        "Two settings of a schedule cannot both hold, or one of them leaves the other nothing to decide; the labels show both.",
    ),
    "THX221": Code(
        "setting of the whole schedule",
        "The axes (`introduce`, `train`, `feed`), `order` and `group` hold for all stages of a schedule: a `stage` block cannot change them.",
    ),
    "THX222": Code(
        "cannot be trained on",
        "The measure has no gradient. It can be watched by `until` and `require`, but a stage needs another `metric`.",
    ),
    "THX225": Code(
        "rules and pairs in one spec",
        "A spec either replaces parts of the guide (`rule`) or builds a network of its own (`target` with `pair`); write two specs.",
    ),
    "THX226": Code(
        "windows that do not go together",
        "`split by` of the guide counts the target's blocks one by one, group by group, so the target has no windows of its own; `crossing` belongs to `every N`.",
    ),
    "THX301": Code(
        "unknown model", "The library has no model of this name, or it does not take these arguments."
    ),
    "THX302": Code(
        "model cannot be traced",
        "The model failed while it was run on fake tensors; the message of the model is quoted.",
    ),
    "THX303": Code(
        "unknown module class", "No module of the traced model, and no class of `torch.nn`, has this name."
    ),
    "THX304": Code(
        "input does not fit the model",
        "The model cannot be run on the input that the spec or the data source declares.",
    ),
    "THX308": Code(
        "code is not trusted",
        "The spec names a Python file of its own, and planning or running it would execute that file. "
        "Read it first; then say `--trust`.",
    ),
    "THX309": Code(
        "code fails",
        "The Python file that the spec names fails when it is run, or what it has by that name is no module class, or no task.",
    ),
    "THX401": Code(
        "rule matched nothing",
        "Nothing in the guide fits the rule; the help says what came nearest, at which step it stopped, where and why.",
    ),
    "THX402": Code(
        "unexpected number of matches",
        "`expect` counts the sites that a rule must find, so that a changed model is noticed.",
    ),
    "THX403": Code(
        "two rules on one part",
        "A part of the guide can be replaced once. Narrow one of the two rules with `in`, `where` or `keep`.",
    ),
    "THX404": Code(
        "path pattern matches nothing",
        "A glob after `in` or `keep` fits no module of the guide, or one after `group by` no part.",
    ),
    "THX405": Code(
        "module is no part",
        "A part is called once in a forward pass, takes a tensor with a row for each sample, and returns one "
        "tensor that the model uses, its batch first; that may stand inside a structure. A region of operations "
        "takes one activation: what else flows in is a mask or the same for every sample.",
    ),
    "THX421": Code(
        "pair found no blocks",
        "No module of the network has the class, attributes and path that one side of a `pair` asks for.",
    ),
    "THX422": Code(
        "pair does not come out even",
        "A `pair` aligns the k-th window of the guide with the k-th of the target, so there are as many of one as of the other. Change `every N`, let the guide's groups be split to the target's with `split by`, or list the last block of each window with `at`.",
    ),
    "THX423": Code(
        "window crosses a boundary",
        "Blocks of a window have outputs of one shape and lie in one module, unless the spec says otherwise: `crossing = cut` ends a window early there, `crossing = allow` goes on; `split by`, `by` and `at` say where windows end.",
    ),
    "THX424": Code(
        "blocks do not form groups",
        "A pattern such as `layer{i}` gives each block the text of its braces; blocks of one group follow each other, and none is left out. A pattern fits a module or one that contains it, `{i}` stands for characters without a dot, `*` for any.",
    ),
    "THX425": Code(
        "list of window ends does not fit",
        "`at [...]` names the last block of each window, by its path or by its number from 1, in the order in which they run.",
    ),
    "THX426": Code(
        "block cannot be tapped",
        "What is compared is one tensor with a row for each sample, which the block returns and its network uses.",
    ),
    "THX501": Code(
        "replacement does not fit",
        "The replacement's output has another shape than the part that it replaces.",
    ),
    "THX502": Code(
        "replacement cannot be built", "A step of the replacement rejected the value that flows into it."
    ),
    "THX503": Code("stage does not exist", "The schedule names a stage that the plan does not have."),
    "THX504": Code(
        "stage without budget or learning rate",
        "Every stage needs `for` and `lr`, from the schedule or from its own block.",
    ),
    "THX505": Code(
        "plan is stale", "The saved plan was made from another spec, model or version; plan again."
    ),
    "THX506": Code("not a plan", "The file is not a plan that this version wrote."),
    "THX507": Code(
        "batch small for the metric",
        "Biased CKA saturates when features outnumber samples; see `metric = ucka`, or a larger batch.",
    ),
    "THX508": Code(
        "start does not apply",
        "`init = fit(...)` solves for replacements that end in a linear map, and for Elman networks; `init = copy` takes tensors of the same shapes.",
    ),
    "THX509": Code(
        "ranks cannot be chosen",
        "`rank = auto(parameters = N)` chooses the width between two linear maps; the budget has to be enough for the smallest ranks of all parts under it.",
    ),
    "THX520": Code(
        "order does not cover the parts",
        "A listed `order` names every part exactly once: by number, name, module path, rule, or a glob over paths.",
    ),
    "THX521": Code(
        "part fits no group",
        "`group by` sorts every part by its module path; each path, or a module around it, has to fit one of the patterns.",
    ),
    "THX522": Code(
        "group is torn apart",
        "The parts of one group are introduced together, and the listed `order` puts parts of other groups between them.",
    ),
    "THX523": Code(
        "metric does not fit the values compared",
        "The metric needs more samples than a batch has, or rows of tokens that the compared values do not have.",
    ),
    "THX524": Code(
        "value cannot be aligned",
        "`align` compares one tensor with a row for each sample, its batch first, in the guide and in the replacement. It has to be there at every site of the rule: an optional step may have matched nothing, and a module inside of a part is called once.",
    ),
    "THX531": Code(
        "metric needs equal shapes",
        "`mse` compares value by value. CKA and its kin compare representations of any two widths.",
    ),
    "THX532": Code(
        "start does not apply to a target",
        "`init` says how replacements begin. A target network begins as its `target` sentence builds it, with the weights that it names or at random, or as a copy of the guide's blocks (`init = copy`).",
    ),
    "THX601": Code("data not found", "The folder or file of the data source does not exist."),
    "THX602": Code("data is empty or malformed", "The data source found nothing that it can read."),
    "THX603": Code(
        "data does not fit the task", "Labels or shapes of the data do not fit the task or the model."
    ),
    "THX604": Code(
        "own task fails",
        "The loss or the metrics of a task of your own raise an error, or give something else than a task gives.",
    ),
    "THX701": Code("output folder exists", "A run never writes into a folder that holds something already."),
    "THX702": Code("cannot write", "The disk is full, or the folder cannot be written."),
    "THX703": Code("not a run folder", "The folder holds no run that can be resumed or loaded."),
    "THX704": Code("run does not match", "The run was made from another spec, model, data or version."),
    "THX705": Code("damaged checkpoint", "A checkpoint could not be read and was passed over."),
    "THX706": Code("device not available", "The device asked for is not on this machine."),
    "THX707": Code(
        "weights cannot be had",
        "The pretrained weights, or the configuration that a name on a hub stands for, are neither cached nor downloadable. `plan` asks no hub: it knows what is in the hub's cache on this machine and the published sizes of well-known models.",
    ),
    "THX801": Code("training diverged", "The loss became NaN or infinite."),
    "THX802": Code(
        "stage does not pass",
        "A `require` of the schedule was not reached, and none of its extensions is left. `else keep guide` goes on with the guide's part in that place.",
    ),
    "THX803": Code(
        "out of memory",
        "Where the device runs out of memory, a batch goes through in twice as many pieces. One sample at a time was still too much.",
    ),
    "THX804": Code(
        "replacement sees the future",
        "The guide is a language model in which no place sees a later one, and with the replacements one does. What it would be asked to predict is among its inputs.",
    ),
}
