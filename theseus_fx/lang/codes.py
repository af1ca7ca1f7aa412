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
        "path pattern matches nothing", "A glob after `in` or `keep` fits no module of the guide."
    ),
    "THX405": Code(
        "part is called more than once",
        "A part has one tensor in and one out. A module that is called several times in one forward pass, or a region of operations that further activations flow into, is none.",
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
        "closed-form start does not apply",
        "`init = fit(...)` solves for replacements that end in `Linear(r, bias = false) |> Linear(out)`.",
    ),
    "THX601": Code("data not found", "The folder or file of the data source does not exist."),
    "THX602": Code("data is empty or malformed", "The data source found nothing that it can read."),
    "THX603": Code(
        "data does not fit the task", "Labels or shapes of the data do not fit the task or the model."
    ),
    "THX701": Code("output folder exists", "A run never writes into a folder that holds something already."),
    "THX702": Code("cannot write", "The disk is full, or the folder cannot be written."),
    "THX703": Code("not a run folder", "The folder holds no run that can be resumed or loaded."),
    "THX704": Code("run does not match", "The run was made from another spec, model, data or version."),
    "THX705": Code("damaged checkpoint", "A checkpoint could not be read and was passed over."),
    "THX706": Code("device not available", "The device asked for is not on this machine."),
    "THX707": Code("weights cannot be had", "The pretrained weights are neither cached nor downloadable."),
    "THX801": Code("training diverged", "The loss became NaN or infinite."),
    "THX802": Code(
        "operations cannot be taken out of a model",
        "A rule over operations can be planned and its stages can be computed, but a run leaves an ordinary model, in which only whole modules can change places. Match the module that holds the operations.",
    ),
}
