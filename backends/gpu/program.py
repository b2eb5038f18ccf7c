"""A model compiled for a GPU: the module's functions, on arrays of the device."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from ...compiler.graph import GraphError
from ...compiler.options import Options
from ...compiler.system import System
from ..cpu.program import Program
from .module import CudaEnergyPrinter, CudaPrinter

TEXT = re.compile(r'^(?:COMMON|CUDA) = (?:COMMON \+ )?r"""(.*?)"""', re.M | re.S)


class NoDevice(RuntimeError):
    """There is no CuPy, or nothing that it can run on."""


class CudaProgram(Program):
    """A program for CuPy: `source` is one module with its kernels in it; it needs NumPy and CuPy, and a device to run on."""

    backend, filename = "cupy", "model_cupy.py"
    direct = True                                                # how windows are read is the kernels' affair
    Printer = CudaPrinter
    EnergyPrinter = CudaEnergyPrinter

    def __init__(self, system: System, dtype: str = "float32", level: int = 1, options: Options | None = None) -> None:
        if level == 0:
            raise GraphError("-O0 prints one expression an equation, for reading, which the cupy backend has no form for; "
                             'the backend "numpy" has')
        if dtype != "float32":
            raise GraphError(f'the cupy backend computes in float32, not {dtype}; the backend "numpy" has both')
        super().__init__(system, dtype, level, options)

    @property
    def module(self) -> Any:
        """The loaded module. NoDevice says why there is none."""
        fresh = self._module is None
        try:
            out = super().module
        except ImportError as e:
            raise NoDevice(str(e)) from None                     # says what to install
        try:
            count = out.cp.cuda.runtime.getDeviceCount() if fresh else 1
        except RuntimeError as e:
            self._module = None
            raise NoDevice(f'the cupy backend needs an NVIDIA GPU with its driver ({e}); the backends "native" and "numpy" '
                           "need none") from None
        if count == 0:
            self._module = None
            raise NoDevice('the cupy backend finds no GPU on this machine; the backends "native" and "numpy" need none')
        return out

    def to_device(self, arrays: Any) -> Any:
        """Arrays of NumPy, or a dict of them, on the device."""
        return self.module.to_device(arrays)

    def to_host(self, arrays: Any) -> Any:
        """Arrays of the device, or a dict of them, as NumPy's."""
        return self.module.to_host(arrays)

    def _of_loss(self, name: str) -> Any:
        return self._either(super()._of_loss(name))

    def _of_energy(self, name: str) -> Any:
        return self._either(super()._of_energy(name))

    def _steps(self, name: str) -> Any:
        return self._either(super()._steps(name))

    def _either(self, function: Any) -> Any:
        """A function that changes nothing: of parameters of the device as it is, of NumPy's with results of NumPy's.

        Where a model has no parameters, its inputs tell.
        """
        def called(params: Any, *given: Any, **more: Any) -> Any:
            if not any(isinstance(a, np.ndarray) for a in (params or more).values()):
                return function(params, *given, **more)
            return self.to_host(function(self.to_device(params), *given, **more))
        return called

    @property
    def cuda(self) -> str:
        """The text of the kernels alone."""
        return "".join(TEXT.findall(self.source))
