"""The memory plan: lives, what is computed in another's place, and slots."""

import pytest
from chainrule.backends.cpu.program import Program
from chainrule.compiler.passes.memory import lives, numbered, plan, share
from chainrule.compiler.pipeline import compile_system
from chainrule.compiler.program import Along, Array, Block, Call, Function, Kernel, Load, Loop, Nest, View, reads, view, writes
from chainrule.compiler.sizes import product, symbol
from chainrule.compiler.verify_program import verify_program
from zoo.catalogue import ZOO

N, M = symbol("N"), symbol("M")


def kernel(out, f, *args):
    return Kernel(out.dims, view(out), Call(f, tuple(Load(view(a)) for a in args)))


def chain(*dims):
    """x -> a -> b -> c, each elementwise from the one before; b reads a twice."""
    x, *rest = (Array(dims, role=role, name=n) for n, role in zip("xabc", ("input", "value", "value", "result"), strict=True))
    a, b, c = rest
    return (x, a, b, c), [kernel(a, "exp", x), kernel(b, "mul", a, a), kernel(c, "neg", b)]


def test_lives():
    (_, a, _, c), body = chain(N)
    found = lives(body, (view(c),))
    assert {v.name: (life.first, life.last) for v, life in found.items()} == {"x": (0, 0), "a": (0, 1), "b": (1, 2), "c": (2, 3)}
    assert (found[a].written, found[a].readers) == (1, 2)


def test_an_elementwise_result_takes_its_operand_s_place():
    (x, a, b, c), body = chain(N)
    share(body, (view(c),))
    assert b.home is a.home and x.home is x
    assert a.home is c.home                              # the caller's array holds all of them
    verify_program(Function("f", body, {"c": view(c)}), {"N": 5})


def test_an_operand_that_is_read_again_keeps_its_place():
    (_, a, b, c), body = chain(N)
    body.append(kernel(d := Array((N,), name="d"), "add", a, b))
    body.append(kernel(e := Array((N,), role="result", name="e"), "neg", d))
    share(body, (view(c), view(e)))
    assert a.home is not b.home
    verify_program(Function("f", body, {"c": view(c), "e": view(e)}), {"N": 5})


@pytest.mark.parametrize("together", [False, True])
def test_an_operand_that_is_read_at_other_places_keeps_its_place(together):
    """c = a + a.T, or both of one nest: the loops would read what they have written."""
    (_, a, b, c), _ = chain(N, N)
    turned = Load(View(a, (Along(1), Along(0)), (N, N)))
    terms = [Kernel(b.dims, view(b), turned), kernel(c, "exp", a)] if together else \
        [kernel(b, "exp", a), Kernel(c.dims, view(c), Call("add", (Load(view(a)), turned)))]
    share([Block((), [Nest((N, N), terms)] if together else terms)], (view(c),))
    assert c.home is not a.home


def test_inputs_and_parameters_are_never_written():
    for build in ZOO.values():
        for printer in Program(build()).printers.values():
            for _, s, _ in numbered(printer.function.body):
                out = writes(s)
                assert out is None or out.array.home.role in ("value", "result")


def test_slots_are_shared_by_what_never_meets():
    a, b, c = (Array((n,), name=k) for k, n in (("a", N), ("b", M), ("c", N)))
    x, y = Array((N,), role="input", name="x"), Array((M,), role="input", name="y")
    r, q = Array((N,), role="result", name="r"), Array((M,), role="result", name="q")
    body = [kernel(a, "exp", x), kernel(r, "neg", a), kernel(b, "exp", y), kernel(q, "neg", b), kernel(c, "exp", x)]
    found = plan(body, (view(r), view(q), view(c)), {})
    slot = {v.name: i for i, s in enumerate(found.slots) for v, _, _ in s.members}
    assert slot["a"] == slot["b"] and len(found.slots) <= 2
    assert {str(s) for s in found.slots[slot["a"]].sizes} >= {"M", "N"}
    verify_program(Function("f", body, {"r": view(r), "q": view(q), "c": view(c)}), {"N": 3, "M": 4}, found)


def test_a_loop_s_values_live_through_all_of_it():
    compiled = compile_system(ZOO["lstm_split"]())
    function = compiled.functions["gradients"]
    inside = {writes(s).array for _, s, looped in numbered(function.body) if looped}
    found = lives(function.body, tuple(function.results.values()))
    for k, s, _ in numbered(function.body):
        if any(v.array in inside for v in reads(s)):
            assert all(found[v.array].last >= k for v in reads(s))
    loops = [x for b in function.body if isinstance(b, Block) for x in b.body if isinstance(x, Loop)]
    assert len(loops) == 2 and [x.reverse for x in loops] == [False, True]


@pytest.mark.parametrize("name", ZOO)
def test_a_plan_needs_no_more_than_every_value_apart(name):
    """At the declared sizes; and every array of a slot fits it."""
    system = ZOO[name]()
    env = {"B": 3, "T": 5, "S": 4, **system.sizes}
    for printer in Program(system).printers.values():
        apart = sum(product(a.dims).evaluate(env) for s in printer.plan.slots for a, _, _ in s.members)
        shared = sum(max(n.evaluate(env) for n in s.sizes) for s in printer.plan.slots)
        assert shared <= apart
        for s in printer.plan.slots:
            room = max(n.evaluate(env) for n in s.sizes)
            assert all(product(a.dims).evaluate(env) <= room for a, _, _ in s.members)
