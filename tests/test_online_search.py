"""The search core of online learning: edits, filter, pool, rules, policies, builder."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from ostinato.data import programs_path
from ostinato.errors import DamageError
from ostinato.judge import load_programs, of_tasm
from ostinato.online.builder import Builder
from ostinato.online.edits import SLOTS, WEIGHTS, Family, children, plain_grammar
from ostinato.online.filter import Filter
from ostinato.online.policies import EditPolicy, Example
from ostinato.online.pool import SLACK, Pool
from ostinato.online.rule_policy import RulePolicy
from ostinato.online.rules import Rule, RuleBook, hunks, windows
from ostinato.online.target import Features, Judged, Task
from ostinato.targets.triton import TritonTarget
from ostinato.triton import run
from ostinato.vocabulary import Vocabulary

NAMES = ("field_sub", "sum5", "rotate3", "bit_length")


@pytest.fixture(scope="module")
def target():
    return TritonTarget([f for f in load_programs(programs_path()) if f.name in NAMES])


def words(target, code):
    return tuple(target.vocabulary.word(token) for token in code)


def rng(seed=0):
    return np.random.default_rng(seed)


def proposals(target, policy, seed, program=0, count=2000):
    return policy.propose(Pool(target, rng()).choose(program, 8, rng()), count, rng(seed))


def made_edits(target, program, seed=3, count=6000):
    parents = Pool(target, rng()).choose(program, 8, rng())
    weights = np.array(WEIGHTS) / sum(WEIGHTS)
    grammar = plain_grammar(target, program)
    return parents, children(parents, count, seed, grammar, Family.of(target.features), weights)


def depths(target, code, first):
    """The depth after each word; the stack is never too shallow for one."""
    own, out = target.features, [first]
    for token in code:
        assert own.need[token] <= out[-1]
        out.append(out[-1] + int(own.change[token]))
    return out


class Counting:
    """A target without a stack: code is letters, `a` counts 1 and `b` counts 3; equal sums are right. Each costs 1."""

    name = "counting"
    failures = ("valid", "other_sum")

    def __init__(self, sums):
        self.vocabulary = Vocabulary(["a", "b"])
        self.features = Features.plain([0, 1])
        self.programs = [Task(f"p{n}", bytes(32), ("a",) * n, n, f"p{n}") for n in sums]

    def judge(self, program, tokens, offsets, confirm="best"):
        sums = [int((1 + 2 * tokens[a:b]).sum()) for a, b in itertools.pairwise(offsets)]
        valid = np.array([s == self.programs[program].compiler_cycles for s in sums], bool)
        return Judged(valid, np.where(valid, np.diff(offsets), 0), (~valid).astype(np.uint8))

    def alphabet(self, program):
        return np.array([0, 1], np.int32), np.array([1.0, 1.0])

    def check_rule(self, before, after):
        worth = {"a": 1, "b": 3}
        same = sum(worth[w] for w in before) == sum(worth[w] for w in after)
        return len(before) - len(after) if same else None


# ---- edits -----------------------------------------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_children_and_another_gives_others(target):
    _, one = made_edits(target, 0)
    _, again = made_edits(target, 0)
    _, other = made_edits(target, 0, seed=4)
    assert np.array_equal(one.tokens, again.tokens)
    assert np.array_equal(one.offsets, again.offsets)
    assert not np.array_equal(one.tokens[:200], other.tokens[:200])


@pytest.mark.parametrize("program", range(len(NAMES)))
def test_children_keep_to_the_depth_the_limit_and_the_alphabet(target, program):
    parents, made = made_edits(target, program)
    assert len(made.parent) > 1000
    own = set(target.alphabet(program)[0].tolist()) | set(parents.tokens.tolist())
    for a, b in itertools.pairwise(made.offsets.tolist()):
        code = made.tokens[a:b].tolist()
        assert depths(target, code, parents.first)[-1] == parents.last
        assert len(code) <= parents.limit
        assert own.issuperset(code)


def test_a_grammar_says_how_many_words_of_a_row_a_depth_allows(target):
    grammar, need = plain_grammar(target, 1), target.features.need
    rows = grammar.tables.reshape(-1, SLOTS)
    fitting = grammar.fitting.reshape(len(rows), -1)
    for row, counts in zip(rows.tolist(), fitting.tolist(), strict=True):
        for depth, count in enumerate(counts):
            assert all(need[token] <= depth for token in row[:count])
            assert all(need[token] > depth for token in row[count:])
        assert counts[-1] == SLOTS


def test_every_edit_is_used(target):
    parents = Pool(target, rng()).choose(1, 8, rng())
    family, grammar = Family.of(target.features), plain_grammar(target, 1)
    for what in range(len(WEIGHTS)):
        if WEIGHTS[what] == 0:  # fragments come from what was learned
            continue
        weights = np.zeros(len(WEIGHTS))
        weights[what] = 1.0
        made = children(parents, 500, 1, grammar, family, weights, 0.0)
        assert len(made.parent) > 0, what
        assert set(made.how.tolist()) == {1 << what}


def test_features_agree_with_the_machine(target):
    own, stack = target.features, list(range(2, 34))
    for i in range(len(target.vocabulary)):
        word = target.vocabulary.word(i)
        if word.split()[0] not in (
            "dup",
            "swap",
            "pick",
            "place",
            "pop",
            "push",
            "add",
            "split",
            "xx_mul",
            "hash",
        ):
            continue
        left = run(f"{word}\nhalt", stack=stack).final_stack
        assert len(left) - 16 == len(stack) + own.change[i]
        if own.wired[i]:
            before, gives = stack[::-1], int(own.need[i] + own.change[i])
            assert [before[k] for k in own.source[17 * i : 17 * i + gives]] == list(left[:gives]), word


# ---- filter ----------------------------------------------------------------------------------------------------------------


def test_the_filter_never_calls_new_what_it_keeps():
    keeps, batch = Filter(1 << 16), np.arange(3000, dtype=np.int32)
    offsets = np.arange(0, 3001, 3)
    assert keeps.new(0, batch, offsets).sum() >= 990  # a few fell on each other's place
    repeated = keeps.new(0, batch, offsets)
    assert repeated.sum() <= 20
    assert keeps.new(1, batch, offsets).sum() >= 980  # another program's are others


def test_the_filter_sees_a_repeat_within_a_batch():
    assert Filter(64).new(0, np.array([1, 2, 1, 2], np.int32), np.array([0, 2, 4])).tolist() == [True, False]


def test_a_filter_may_ask_another_and_leaves_that_as_it_is():
    keeps, batch = Filter(64), Filter(64)
    keeps.new(0, np.array([1, 2], np.int32), np.array([0, 2]))
    both = np.array([1, 2, 3, 4], np.int32), np.array([0, 2, 4])
    assert batch.new(0, *both, keeps).tolist() == [False, True]
    assert keeps.new(0, *both).tolist() == [False, True]


def test_children_are_each_made_once_and_never_what_was_tried(target):
    parents = Pool(target, rng()).choose(0, 8, rng())
    tried = Filter()
    seen: set[tuple[int, ...]] = set()
    for seed in range(4):
        asked = replace(parents, tried=tried)
        weights = np.array(WEIGHTS) / sum(WEIGHTS)
        made = children(asked, 4000, seed, plain_grammar(target, 0), Family.of(target.features), weights)
        codes = [tuple(made.tokens[a:b].tolist()) for a, b in itertools.pairwise(made.offsets.tolist())]
        assert len(codes) > 500
        assert len(set(codes)) >= len(codes) - 30  # a table of 65,536 forgets a few
        assert len(seen & set(codes)) <= 5
        assert tried.new(0, made.tokens, made.offsets).sum() >= len(codes) - 30
        seen |= set(codes)


def slow_hash(tokens, salt):
    """As the kernel's, in plain Python."""
    word = (salt * 0x9E3779B97F4A7C15 + 0x632BE59BD9B4E019) % 2**64
    for token in tokens:
        word = ((word ^ (token + 1)) * 0xBF58476D1CE4E5B9) % 2**64
        word ^= word >> 29
    word = (word * 0x94D049BB133111EB) % 2**64
    return (word ^ word >> 32) | 1


def test_the_filter_keeps_what_a_table_of_one_place_each_keeps():
    lists = [[int(t) for t in rng(i).integers(0, 9, i % 4)] for i in range(300)]
    tokens = np.array([t for one in lists for t in one], np.int32)
    offsets = np.concatenate([[0], np.cumsum([len(one) for one in lists])])
    tried, own = Filter(64), Filter(32)
    tried.new(7, tokens[: offsets[20]], offsets[:21])
    table, expected = {}, []
    known = {slow_hash(one, 7) >> 7 & 63: slow_hash(one, 7) for one in lists[:20]}
    for one in lists:
        word = slow_hash(one, 7)
        expected.append(known.get(word >> 7 & 63) != word and table.get(word >> 7 & 31) != word)
        table[word >> 7 & 31] = word
    assert own.new(7, tokens, offsets, tried).tolist() == expected
    assert 10 < sum(expected) < 290


def test_the_filter_takes_powers_of_two_only():
    with pytest.raises(ValueError, match="power of two"):
        Filter(100)


# ---- pool ------------------------------------------------------------------------------------------------------------------


def test_the_pool_keeps_the_best_and_what_costs_little_more():
    target = Counting([9])
    pool = Pool(target, rng(), kept=4)
    assert pool.best(0) == ((0,) * 9, 9)
    assert pool.add(0, (1, 1, 1), 3)
    assert pool.best(0) == ((1, 1, 1), 3)
    assert not pool.add(0, (1, 1, 1), 3)  # known
    assert not pool.add(0, (0,) * 9, 9)  # too dear by now
    for k in range(20):
        assert pool.add(0, (k, k), 3 + SLACK)
    assert pool.variants(0) == 5
    assert pool.choose(0, 3, rng()).lists[0] == [1, 1, 1]


# ---- rules -----------------------------------------------------------------------------------------------------------------


def test_windows_grow_around_what_differs():
    before, after = ("x", "a", "b", "y"), ("x", "c", "y")
    places = hunks(before, after)
    assert places == [(1, 3, 1, 2)]
    found = list(windows(before, after, places[0]))
    assert found[0] == (("a", "b"), ("c",))
    assert (("x", "a", "b", "y"), ("x", "c", "y")) in found


def test_a_rule_holds_in_general_or_not(target):
    assert target.check_rule(["swap 1", "swap 1"], []) == 2
    assert target.check_rule(["push 3", "add"], ["addi 3"]) == 1
    assert target.check_rule(["add"], ["mul"]) is None
    assert target.check_rule(["dup 0", "split", "pop 2"], []) == 3
    assert target.check_rule(["lt"], ["split", "lt"]) is None
    assert target.check_rule(["push 1", "push 1", "lt"], ["push 0"]) == 2


def test_a_rule_found_in_one_place_is_the_smallest_and_says_what_may_vary(target):
    book = RuleBook(target)
    before = ("dup 0", "push 2", "add", "mul")
    (rule,) = book.learn("p", before, ("dup 0", "addi 2", "mul"), 1)
    assert (rule.before, rule.after, rule.saved, rule.general) == (("push 2", "add"), ("addi 2",), 1, True)
    assert rule.varies == ["constant"]
    assert (("push 3", "add"), ("addi 3",)) in book.instances(rule)
    assert "push 2; add  ->  addi 2" in str(rule)
    assert book.learn("q", ("push 3", "add"), ("addi 3",), 1) == [rule]
    assert rule.seen == {"p": 1, "q": 1}


def test_a_rule_of_one_program_alone_is_not_general(target):
    book = RuleBook(target)
    (rule,) = book.learn("p", ("dup 0", "mul"), ("dup 0", "add"), 0)
    assert not rule.general


def test_a_rule_learned_on_one_program_is_proposed_on_another(target):
    policy = RulePolicy(target)
    policy.learn([Example("elsewhere", ("push 1", "add"), ("addi 1",), 2, 1)])
    program = [task.name for task in target.programs].index("bit_length")
    made = proposals(target, policy, 0, program)
    by_rule = [words(target, made.code(i)) for i in np.flatnonzero(made.rule >= 0)]
    assert ("dup 0", "log_2_floor", "addi 1", "swap 1", "pop 1") in by_rule


# ---- policies --------------------------------------------------------------------------------------------------------------


def learned(target):
    policy = RulePolicy(target)
    builder = Builder(target, policy, seed=1, beam=1024)
    for _ in range(8):
        beam = builder.beam()
        name = target.programs[beam.program].name
        policy.learn(
            [
                Example(name, words(target, s.parent), words(target, s.code), s.parent_cycles, s.cycles)
                for s in beam.steps
            ]
        )
    return policy


def test_a_saved_policy_proposes_the_same(target, tmp_path):
    policy = learned(target)
    policy.save(tmp_path / "policy.json")
    one, two = RulePolicy(target), RulePolicy(target)
    one.load(tmp_path / "policy.json")
    two.load(tmp_path / "policy.json")
    assert one.version == policy.version > 0
    assert [r.as_dict() for r in one.rules] == [r.as_dict() for r in policy.rules]
    for program in range(len(NAMES)):
        a, b = proposals(target, one, 5, program), proposals(target, two, 5, program)
        assert np.array_equal(a.tokens, b.tokens)
        assert np.array_equal(a.rule, b.rule)
    untrained = proposals(target, RulePolicy(target), 5)
    assert not np.array_equal(untrained.tokens[:300], proposals(target, one, 5, 0).tokens[:300])


def test_a_file_that_is_no_policy_is_refused(target, tmp_path):
    path = tmp_path / "policy.json"
    for text in ("{", "[]", '{"policy": "edits"}', '{"policy": "rules", "version": 1}'):
        path.write_text(text)
        with pytest.raises(DamageError):
            RulePolicy(target).load(path)


def test_the_edit_policy_does_not_learn(target, tmp_path):
    policy = EditPolicy(target)
    before = proposals(target, policy, 7)
    policy.learn([Example("p", ("push 1", "add"), ("addi 1",), 2, 1)])
    Builder(target, policy, seed=0, beam=256).beam(0)
    after = proposals(target, policy, 7)
    assert policy.version == 0
    assert np.array_equal(before.tokens, after.tokens)
    policy.save(tmp_path / "policy.json")
    other = EditPolicy(target)
    other.load(tmp_path / "policy.json")
    assert np.array_equal(proposals(target, other, 7).tokens, before.tokens)


def test_a_rule_is_not_blamed_for_what_another_did_wrong(target):
    program = next(i for i, task in enumerate(target.programs) if task.name == "field_sub")
    policy = RulePolicy(target)
    right = policy.rules.add(Rule(("push -1", "mul"), ("push -1", "swap 1", "mul"), 0, True))
    wrong = policy.rules.add(Rule(("swap 2", "pop 2"), ("pop 2",), 0, False))
    own = Builder(target, policy, seed=1, beam=256)
    for _ in range(12):
        own.beam(program)
    assert (right.failures, wrong.successes) == (0, 0)
    assert right.successes > 0
    assert wrong.failures > 0


# ---- builder ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [EditPolicy, RulePolicy])
def test_a_short_search_improves_programs_and_counts_what_it_did(target, make):
    fresh = TritonTarget(target.functions)
    builder = Builder(fresh, make(fresh), seed=2, beam=1024)
    for _ in range(24):
        beam = builder.beam()
        assert sum(beam.failures) == beam.attempts
        assert beam.failures[0] == beam.valid
        assert len(beam.sample) <= 4
        assert (beam.best is None) == (beam.valid == 0)
        assert all(step.cycles < step.parent_cycles for step in beam.steps)
    before = sum(task.compiler_cycles for task in fresh.programs)
    best = [builder.pool.best(i) for i in range(len(NAMES))]
    assert sum(cycles for _, cycles in best) <= before - 10
    for i, (code, cycles) in enumerate(best):
        verdict = fresh.judge_of(i).judge([list(words(fresh, code))], confirm="all")[0]
        assert verdict.valid
        assert verdict.clock_cycles == cycles


def test_a_search_is_reproducible():
    def run_once():
        fresh = TritonTarget(
            [of_tasm("p", ["push 1", "add", "push 2", "add", "swap 1", "swap 1"], ["f", "f"])]
        )
        builder = Builder(fresh, RulePolicy(fresh), seed=4, beam=512)
        return [builder.beam().best for _ in range(4)], builder.pool.best(0)

    assert run_once() == run_once()


def test_no_program_starves():
    target = Counting([9, 12, 15, 18])
    builder = Builder(target, EditPolicy(target), seed=0, beam=64)
    seen = {builder.beam().program for _ in range(60)}
    assert seen == {0, 1, 2, 3}


@pytest.mark.parametrize("make", [EditPolicy, RulePolicy])
def test_another_target_needs_no_stack(make):
    target = Counting([9, 12])
    builder = Builder(target, make(target), seed=0, beam=512)
    for _ in range(60):
        builder.beam()
    assert builder.pool.best(0)[1] == 3
    assert builder.pool.best(1)[1] == 4


def test_a_rule_that_saves_nothing_is_not_widened_to_what_is_wrong(target):
    book = RuleBook(target)
    (rule,) = book.learn("p", ("push 0", "push 0"), ("push 0", "split"), 0)
    assert (rule.general, rule.saved) == (True, 0)
    for before, after in book.instances(rule):
        assert target.check_rule(before, after) == 0
