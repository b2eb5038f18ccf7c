"""Neural networks written as equations: gradients derived symbolically, code that a person can read and a machine runs fast.

    import chainrule as cr
    model = cr.load("model.nn")                       # or cr.parse(text), or built in Python with cr.Builder
    print(model.gradient("W1"))                       # the derived formula
    program = cr.compile(model)                       # a NumPy module
    loss, grads = program.loss_and_grads(program.init(seed=0), x=x, y=y)
"""

from .backends.interface import CompiledModel, NoBackend, set_threads
from .compiler.system import System
from .frontends.builder import Builder
from .frontends.model import (
    Model,
    check_gradients,
    compile,
    grad,
    hessian,
    hvp,
    jacobian,
    jvp,
    load,
    parse,
)

__all__ = ["Builder", "CompiledModel", "Model", "NoBackend", "System", "check_gradients", "compile", "grad", "hessian", "hvp",
           "jacobian", "jvp", "load", "parse", "set_threads"]
__version__ = "0.1.0"
