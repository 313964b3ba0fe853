"""How it learns: policies that propose, builders that try, a learner that makes rules of what was right.

Rule of this folder: nothing here knows Triton; what is right, and what code is made of, a `Target` says.
"""

from ostinato.online.builder import Beam, Builder, Found
from ostinato.online.folder import Folder
from ostinato.online.guard import Decision, Evaluation, decide, evaluate
from ostinato.online.learner import Learner, Study
from ostinato.online.loop import Moment, Verdict, learn
from ostinato.online.metrics import Find, Metrics
from ostinato.online.policies import EditPolicy, Example, Policy, Proposals
from ostinato.online.pool import Pool
from ostinato.online.rule_policy import RulePolicy
from ostinato.online.rules import Rule, RuleBook
from ostinato.online.target import Features, Judged, Target, Task
from ostinato.online.working import Work, Worker

__all__ = [
    "Beam",
    "Builder",
    "Decision",
    "EditPolicy",
    "Evaluation",
    "Example",
    "Features",
    "Find",
    "Folder",
    "Found",
    "Judged",
    "Learner",
    "Metrics",
    "Moment",
    "Policy",
    "Pool",
    "Proposals",
    "Rule",
    "RuleBook",
    "RulePolicy",
    "Study",
    "Target",
    "Task",
    "Verdict",
    "Work",
    "Worker",
    "decide",
    "evaluate",
    "learn",
]
