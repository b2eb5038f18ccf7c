"""PTX, the assembler text that NVRTC gives, taken apart: kernels, their registers and memory, instructions and labels."""

import re
from dataclasses import dataclass, field

import numpy as np

TYPES = {"u8": np.uint8, "s8": np.int8, "b8": np.uint8, "u16": np.uint16, "s16": np.int16, "b16": np.uint16,
         "u32": np.uint32, "s32": np.int32, "b32": np.uint32, "u64": np.uint64, "s64": np.int64, "b64": np.uint64,
         "f32": np.float32, "f64": np.float64, "pred": np.bool_}
SIZES = {k: np.dtype(v).itemsize for k, v in TYPES.items()}
RAW = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64}    # bits of so many bytes
OPERAND = re.compile(r"\{[^}]*\}|\[[^\]]*\]|\([^)]*\)|[^,\s][^,]*")
STATEMENT = re.compile(r"(?:@(!?)%(\w+)\s+)?([\w.:]+)\s*(.*)", re.S)

REGISTERS = re.compile(r"\.reg\s+\.(\w+)\s+([^;]*);")
NAME = re.compile(r"%(\w+)(<)?")
OPENED = re.compile(r"(?<=[;\n{}:])[ \t]*\{")                    # a brace that is no operand's


@dataclass(frozen=True)
class Instruction:
    """`@!%p1 add.ftz.f32 %f1, %f2, %f3`, and the line of CUDA C++ that it is of."""

    predicate: str | None
    negated: bool
    parts: tuple
    operands: tuple
    text: str
    line: int

    @property
    def kind(self):
        """The type that it works on."""
        return self.parts[-1]


@dataclass
class Kernel:
    """An entry: what it takes and has, and its code."""

    name: str
    parameters: list                                             # (type, name)
    registers: dict                                              # prefix, or whole name -> type
    shared: dict                                                 # name -> (first byte, size), of static shared memory
    local: dict                                                  # the same of each thread's own memory
    constants: dict                                              # name -> bytes, tables of the library
    dynamic: list                                                # names of shared memory of the launch's size
    code: list = field(default_factory=list)
    labels: dict = field(default_factory=dict)

    @property
    def fenced(self):
        """Whether its blocks hear of each other."""
        return any(i.parts[0] in ("membar", "fence") and "cta" not in i.parts for i in self.code)

    def kind(self, register):
        """A register's type."""
        name = register.lstrip("%")
        return self.registers.get(name) or self.registers[re.sub(r"\d+$", "", name)]


def kernels(text):
    """name -> Kernel."""
    text = re.sub(r"//[^\n]*|/\*.*?\*/", "", text, flags=re.S)
    constants = {name: np.array([int(x) for x in values.split(",")], np.uint8)
                 for name, values in re.findall(r"^\.(?:global|const) [^;=]*?\.b8 (\w+)\[\d+\] = \{([^}]*)\};", text, re.M)}
    dynamic = re.findall(r"^\.extern \.shared \.align \d+ \.b8 (\w+)\[\];", text, re.M)
    shared = placed(declared("shared", text, r"^"))
    functions = {m[1]: (re.findall(r"\w+_param_\d+", m[2]), text[m.end():closing(text, m.end())])
                 for m in re.finditer(r"\.func\s+(?:\([^)]*\)\s*)?(\w+)\s*\(([^)]*)\)\s*\{", text)}
    found = {}
    for m in re.finditer(r"\.entry (\w+)\s*\((.*?)\)([^{]*)\{", text, re.S):
        body = text[m.end():closing(text, m.end())]
        own = placed(declared("shared", body), shared)
        parameters = re.findall(r"\.param (?:\.align \d+ )?\.(\w+)(?: \.ptr[^,)]*?(?=\w+\s*(?:,|$)))?\s*(\w+)", m[2])
        k = found[m[1]] = Kernel(m[1], parameters, {}, own, {}, constants, dynamic)
        read(body, k, functions)
    return found


def declared(space, text, head=""):
    """(alignment, name, bytes) of the variables of a space that a text declares."""
    found = re.findall(head + rf"\s*\.{space} \.align (\d+) \.(\w+)\s+(\w+)(?:\[(\d+)\])?;", text, re.M)
    return [(int(align), name, SIZES[kind] * int(count or 1)) for align, kind, name, count in found]


def placed(variables, before=None):
    """name -> (first byte, size), one after the other."""
    out, at = dict(before or {}), total(before or {})
    for align, name, size in variables:
        at = -(-at // align) * align
        out[name] = (at, size)
        at += size
    return out


def total(places):
    """Bytes that these take."""
    return max((a + n for a, n in places.values()), default=0)


def closing(text, at):
    """Where the brace that is open at `at` closes."""
    depth = 1
    while depth:
        depth += {"{": 1, "}": -1}.get(text[at], 0)
        at += 1
    return at - 1


def read(body, kernel, functions):
    """The instructions and labels of a body, with those of the functions that it calls in place of the calls."""
    body = scoped(body)
    kernel.registers |= {name: kind for kind, several in REGISTERS.findall(body) for name, _ in NAME.findall(several)}
    kernel.local |= placed(declared("local", body), kernel.local)
    line = 0
    for part in re.split(r";|\n", re.sub(r"\$\w+:", lambda m: f"{m[0]}\n", joined(body))):
        s = part.strip()
        s = s.strip("{}").strip() if s.count("{") != s.count("}") else s
        if s.endswith(":"):
            kernel.labels[s[:-1]] = len(kernel.code)
        elif s.startswith(".loc"):
            line = int(s.split()[2])
        elif s and s != "{}" and not s.startswith("."):
            negated, predicate, opcode, rest = STATEMENT.match(s).groups()
            operands = tuple(x.strip() for x in OPERAND.findall(rest))
            if opcode.startswith("call") and functions.keys() & {*operands[:2]}:
                called(*operands, kernel, functions) if len(operands) == 3 else called("", *operands, kernel, functions)
                continue
            kernel.code.append(Instruction(predicate, negated == "!", tuple(opcode.split(".")), operands, s, line))


def scoped(body):
    """The registers of inner braces under names of their own: they may hide those outside."""
    out, end = "", 0
    for k, m in enumerate(OPENED.finditer(body)):
        if m.start() < end:
            continue
        last = closing(body, m.end())
        inner = scoped(body[m.end():last])
        for _, several in REGISTERS.findall(inner):
            for name, many in NAME.findall(several):
                inner = re.sub(rf"%{name}(?=\d+\b|<)" if many else rf"%{name}\b", f"%in{k}_{name}", inner)
        out, end = out + body[end:m.end()] + inner, last
    return out + body[end:]


def called(to, name, of, kernel, functions):
    """A function's code where it is called, its names made its own."""
    own, (formal, body) = f"call{len(kernel.code)}_", functions[name]
    given = dict(zip(formal, re.findall(r"\w+", of), strict=True)) | {"func_retval0": to.strip("() ")}
    body = re.sub(r"%(?!(?:n?c?taid|n?tid|laneid)\b)(\w)", rf"%{own}\1", body)
    body = re.sub(r"\$(\w)", rf"${own}\1", re.sub(r"\b(__local_depot)", rf"{own}\1", body))
    body = re.sub(r"\b(?:ret|ret\.uni);", f"bra ${own}end;", re.sub(r"\w+", lambda m: given.get(m[0], m[0]), body))
    read(body, kernel, functions)
    kernel.labels[f"${own}end"] = len(kernel.code)


def joined(body):
    """Statements that go over several lines, in one."""
    return re.sub(r"\n(?!\s*(?:\$|\.|\}|\{|@|[a-z]))", " ", re.sub(r"([,(])\s*\n\s*", r"\1 ", body))
