"""Whole loops over time in one launch: whether they are worth it, in how many blocks, and the launch. Modules carry this text.

The cost of a step in one launch: its barriers; its products at the rate of one block, or what all blocks read for them from the
second-level cache, if that takes longer; its sums over a layer, which every block does for itself, one row a warp at a time, and
what they read. As launches: so many launches, and the products at the rate of the device, or what they read. The rates are
guesses until they are measured; what bounds a product is counted at `BUSY`.
"""

import numpy as np

cp = None                                                        # a module imports cupy as cp


class Machine:
    """What a device has: multiprocessors, bytes of shared memory that a block may take, and rates by the second."""

    def __init__(self, blocks, memory, cooperative=True, clock=1.5e9, cache=3e12):
        self.blocks, self.memory, self.cooperative, self.clock, self.cache = blocks, memory, cooperative, clock, cache


class Recurrence:
    """A loop in one launch.

    units: for each number of units (its value, numbers that a block keeps for a unit and an example, products), a product being
    (parts, depth); each: numbers that a block keeps for an example; meetings: barriers of a step; launches: those of a step as
    kernels; sums: of each loop over sums, (units that blocks share, or 0; sums of a unit and an example; numbers of a sum that no
    sum has read since the last barrier); faster: the rate of a launch's products, by that of float32.
    """

    MEET, LAUNCH, SUM = 1.5e-6, 3e-6, 0.3e-6         # seconds of a barrier of all blocks, of a small kernel, of a warp's sum
    THIN, FULL = 0.3, 0.6                            # the part of its rate that a product of 32 examples reaches, and of many
    # A thread adds up 8 rows times 8 examples. For 64 / A columns of a tile of 8 D rows by 8 A examples a warp takes 32 D cycles
    # of its multiprocessor's multiply-adds (4 warps at a time), and of its shared memory, 128 bytes a cycle, 32 D to read 16
    # numbers each and 32 to bring the columns there: at best the rate D / (D + 1), for D = 1, 2, 4.
    BUSY = (8, 0.45), (16, 0.6), (32, 0.7)                       # rows of a tile, 8 D, and the part of the rate
    JOIN = 1000                                                  # cycles to join what the threads of 8 warps have added up

    def __init__(self, units, each, meetings, launches, sums=(), faster=1):
        self.units, self.each, self.meetings, self.launches = units, each, meetings, launches
        self.sums, self.faster = sums, faster

    def memory(self, examples, groups, members):
        """Bytes of shared memory of a block."""
        rows, count = -(-examples // groups), 8192
        for units, own, products in self.units:
            share = -(-units // members)
            count += own * share * rows + sum(depth * (-(-parts * share // 4) * 4) for parts, depth in products)
        return 4 * (count + self.each * rows)

    def together(self, device, examples, groups, members):
        """Seconds of a step in one launch."""
        rows, cycles, read, again, waits = -(-examples // groups), 0, 0, 0, 0
        for units, _, products in self.units:
            for parts, depth in products:
                cycles += self.product(parts * -(-units // members), rows, depth)
                read += 4 * rows * depth * groups * members
        for units, many, numbers in self.sums:
            count = rows * many * (-(-units // members) or 1)
            waits += -(-count // 8)
            again += 4 * count * numbers * groups * members
        return (self.meetings * self.MEET * (members > 1) + max(cycles / device.clock, read / device.cache)
                + waits * self.SUM + again / device.cache)

    def product(self, height, rows, depth):
        """Cycles of a block's product, `height` rows of weights by `rows` examples: a warp has a tile, or some of its columns."""
        tall, busy = next((x for x in self.BUSY if height <= x[0]), self.BUSY[-1])
        wide = 8 if rows <= 16 else 32
        tiles = -(-height // tall) * -(-rows // wide)
        ways = max(8 // tiles, 1)                                # warps that share a tile
        return -(-tiles // (8 // ways)) * (8 / ways * tall * wide * depth / (128 * busy) + self.JOIN)

    def apart(self, device, examples):
        """Seconds of a step as launches."""
        sizes = [units * parts * depth for units, _, products in self.units for parts, depth in products]
        rate = 128 * min(self.THIN * (examples / 32) ** 0.5, self.FULL) * device.blocks * device.clock * self.faster
        return self.launches * self.LAUNCH + sum(max(examples * n / rate, 4 * n / device.cache) for n in sizes)

    def shapes(self, device, examples):
        """(seconds of a step, groups, members) of what fits, the fastest first, of equals that with most groups."""
        most, found = max((units for units, _, _ in self.units), default=1), []
        for groups in range(1, min(device.blocks, examples) + 1):
            every = -(-most // -(-most // (device.blocks // groups)))                # no block without units
            for members in {every, 1}:                           # one waits for nobody
                if self.memory(examples, groups, members) <= device.memory:
                    found.append((self.together(device, examples, groups, members), groups, members))
        return sorted(found, key=lambda shape: (shape[0], -shape[1]))

    def choice(self, device, examples):
        """(groups, members), or None, and why."""
        found, step = self.shapes(device, examples), self.apart(device, examples)
        if not device.cooperative:
            return None, "the device launches no blocks that wait for each other"
        if not found:
            least = min(self.memory(examples, groups, device.blocks // groups) for groups in range(1, device.blocks + 1))
            return None, f"a block would take {least} bytes of shared memory, and the device has {device.memory}"
        seconds, groups, members = found[0]
        said = f"{seconds * 1e6:.1f} us a step in {groups} x {members} blocks, {step * 1e6:.1f} us as {self.launches} launches"
        return ((groups, members), said) if seconds < step else (None, said)


class Together:
    """The loops of a module that may run in one launch. `on`: whether they do; `shape`: (groups, members) for all of them.

    A launch is cooperative: the driver starts all of its blocks at once, or refuses it, so that none waits for one that never
    runs. Blocks count their arrivals in memory that each barrier leaves as the next one needs it; so a replayed launch finds it.
    """

    def __init__(self, text, loops):
        self.text, self.loops, self.on, self.shape, self.module = text, loops, True, None, None
        self.machines, self.arrived, self.functions, self.chosen, self.reasons = {}, {}, {}, {}, {}

    def run(self, name, steps, examples, *args):
        """Launch a loop; False where it is better, or only possible, step by step: `reasons` says why."""
        if not self.on or steps < 1 or examples < 1:
            return False
        shape = self.decided(name, examples)
        if shape is None:
            return False
        groups, members = shape
        given = tuple(np.int32(a) if type(a) is int else a for a in args)
        self.functions[name]((groups * members,), (256,), (*given, self.counters(), np.int32(members), np.int32(groups)),
                             shared_mem=self.loops[name].memory(examples, groups, members))
        return True

    def decided(self, name, examples):
        """(groups, members) for so many examples on the device in use, or None."""
        device = cp.cuda.runtime.getDevice()
        key = name, examples, self.shape, device
        if key not in self.chosen:
            machine = self.machines[device] = self.machines.get(device) or self.machine()
            shape, self.reasons[name] = self.loops[name].choice(machine, examples)
            if self.shape and self.loops[name].memory(examples, *self.shape) <= machine.memory:
                shape = self.shape
            if shape and not self.resident(name, examples, shape, machine):
                shape, self.reasons[name] = None, f"the device does not keep {shape[0]} x {shape[1]} blocks at the same time"
            self.chosen[key] = shape
        return self.chosen[key]

    def resident(self, name, examples, shape, machine):
        """Whether all blocks of a launch run at the same time, as the compiled kernel is."""
        self.module = self.module or cp.RawModule(code=self.text, options=("-std=c++17",), enable_cooperative_groups=True)
        if name not in self.functions:
            self.functions[name] = self.module.get_function(name)
        function, memory = self.functions[name], self.loops[name].memory(examples, *shape)
        function.max_dynamic_shared_size_bytes = machine.memory
        each = cp.cuda.driver.occupancyMaxActiveBlocksPerMultiprocessor(function.kernel.ptr, 256, memory)
        return shape[0] * shape[1] <= each * machine.blocks

    @staticmethod
    def machine():
        """What the device in use has."""
        has = cp.cuda.Device().attributes
        return Machine(has["MultiProcessorCount"], has["MaxSharedMemoryPerBlockOptin"], bool(has["CooperativeLaunch"]),
                       1e3 * has.get("ClockRate", 1.5e6))

    def counters(self):
        """How many blocks of each group have come to a barrier, for what one stream runs."""
        runs = STREAMS.runs()
        if runs not in self.arrived:
            self.arrived[runs], = allocated("counters of barriers", [(32 * self.machines[runs[0]].blocks, np.uint32)])
            self.arrived[runs].fill(0)
        return self.arrived[runs]
