"""The module around kernels: what stands before and after them, and their text."""

from __future__ import annotations

import re
from typing import Any

from ..cpu.energies import EnergyPrinter
from ..cpu.entry import Entry
from ..cpu.functions import FunctionPrinter
from ..cpu.guards import quiet
from ..cpu.head import init_text
from ..cpu.module import HELPERS, ModulePrinter
from . import captured, device, inputs, persistent_device
from .function import CudaFunction
from .kernels import Kernels
from .persistent_function import LIBRARY, together_text
from .selfcheck import CHECK
from .steps import CudaCheckpointing, CudaGeneration, CudaSteps
from .updates import CudaUpdates

IMPORTS = """import ctypes

import numpy as np

try:
    import cupy as cp
except ImportError as e:
    raise ImportError(f'this module runs on CuPy, which cannot be imported ({e}); install "cupy-cuda13x[ctk]" for CUDA 13, '
                      '"cupy-cuda12x[ctk]" for CUDA 12') from None
"""
WORDS = ("COMMON", "CUDA", "KERNELS", "BLAS", "CHECKS", "STREAMS", "launch", "blocks", "gemm", "to_device", "to_host",
         "cp", "ctypes", "TOGETHER", "PARTS", "tiles", "shares")


class CudaPrinter(ModulePrinter):
    """Prints a compiled system as a module for CuPy; the text of its kernels stands in it."""

    Function = CudaFunction
    Updates = CudaUpdates
    Generation = CudaGeneration
    Checkpointing = CudaCheckpointing
    imports = IMPORTS
    check = CHECK
    carried = (*HELPERS, device, inputs, captured, persistent_device)        # of two helpers of one name, the last

    def __init__(self, *given: Any, **more: Any) -> None:
        super().__init__(*given, **more)
        self.reserved = (*self.reserved, *WORDS)
        self.uses |= {"Kernels", "Blas", "Streams", "launch", "blocks", "to_device", "to_host", "Checks"}
        self.kernels = Kernels({k: v for k, v in self.system.sizes.items() if k in self.sizes})
        kinds = {i.type.kind for i in self.system.inputs.values()}
        looked = {"check_classes": "class" in kinds or self.system.lengths, "check_units": self.compiled.model is not None}
        self.kernels.plain |= {k: None for k, has in looked.items() if has}
        self.Updates = self._updates  # type: ignore[assignment]
        self.Function = self._printer  # type: ignore[assignment]
        self.Steps = self._steps  # type: ignore[assignment]

    def _updates(self, compiled: Any, uses: set[str]) -> CudaUpdates:
        updates = CudaUpdates(compiled, uses)
        updates.kernels = self.kernels
        return updates

    def framed(self, name: str, printer: FunctionPrinter, entry: Entry, what: str) -> str:
        """A function, whose kernels go with all others."""
        assert isinstance(printer, CudaFunction)
        printer.kernels = self.kernels
        self.uses |= {"seeds"}
        text = super().framed(name, printer, entry, what)
        if self.cut:                                             # what a chunk starts from lies on the device
            self.uses |= {"kept"}
            text = text.replace("np.broadcast_to(", "cp.broadcast_to(")
            text = text.replace("start_from(carry, ", "start_from(workspace, carry, ")
            text = re.sub(r"(?m)^(    \w+ = )(carry is None)$", r"\1constant(workspace, \2)", text)
            self.uses |= {"constant"} if "constant(" in text else set()
            text = re.sub(r"(?m)^(    \w+ = )(carry\[[^\]]*\])$", r"\1steps_before(workspace, \2, dtype)", text)
            self.uses |= {"steps_before"} if "steps_before(" in text else set()
        return text

    def initial(self) -> str:
        """`init`: drawn by NumPy, then on the device."""
        text = init_text(self.system, self.dtype, self.uses).rstrip("\n")
        head, _, rest = text.partition("    return {")
        return f"{head}    return to_device({{{rest})\n"

    def loss_and_grads(self) -> str:
        """`loss_and_grads`: the objective and fresh gradients, on the device."""
        text = super().loss_and_grads().replace("np.empty_like", "cp.empty_like")
        return text.replace("workspace or Workspace()", "Workspace.of(workspace)")

    @staticmethod
    def quiet(text: str) -> str:
        """Functions under a guard of NumPy's where they call it: `generate` draws on the host."""
        parts = re.split(r"(?m)^(?=def )", text)
        return "".join(quiet(p) if re.search(r"(?<![\w.])sigmoid\(", re.sub(r"#.*", "", p)) else p for p in parts)

    def _printer(self, *given: Any, **more: Any) -> CudaFunction:
        function = CudaFunction(*given, **more)
        function.kernels = self.kernels
        return function

    def _steps(self, *given: Any) -> CudaSteps:
        steps = CudaSteps(*given)
        steps.kernels = self.kernels
        return steps

    def helpers(self) -> str:
        """The helpers, and the kernels."""
        loops = self.kernels.loops
        self.uses |= {"Together", "Recurrence", "Machine"} if loops else set()
        helpers = super().helpers()
        common, kernels, together = self.kernels.in_cuda(LIBRARY)
        together = together_text(together, loops) if loops else ""
        cuda = f'COMMON = r"""{common}"""\n\nCUDA = COMMON + r"""{kernels}"""' if loops else f'CUDA = r"""{common}{kernels}"""'
        blas = f'STREAMS = Streams()\nBLAS = Blas("{self.options.products}")' + "\nPARTS = Parts()" * ("Parts" in self.uses)
        head = "# ---- helpers, the same in every module that uses them"
        return f"{cuda}\n\n\n{head}\n\n{helpers}\n\n{blas}\nCHECKS = Checks()\nKERNELS = Kernels(CUDA)\n{together}"


class CudaEnergyPrinter(CudaPrinter, EnergyPrinter):
    """The same of an energy model."""

    def selfcheck(self) -> str:
        """`check`, of the slope of the free energy."""
        text = "free_energy(params, **inputs)"
        return super().selfcheck().replace(f"{text}.mean()", f"to_host({text}).mean()")

    def statistics(self) -> str:
        """`statistics`, on the device."""
        return super().statistics().replace("np.empty_like", "cp.empty_like")
