// What a library of kernels and the scheduler know of each other.
#pragma once
#include <stddef.h>
#include <stdint.h>

namespace on_host {

struct Index { unsigned x, y, z; };

struct Place {                                                   // where the running thread is
    Index thread, block, block_dim, grid_dim;
    int number;                                                  // of the thread in its block
    char *dynamic;                                               // shared memory of the launch's size
};

struct Image {                                                   // of a library, and one kernel of it
    Place *place;
    char *shared, *shared_end;
    void (*entry)(void **);
};

struct Launch {
    unsigned grid[3], block[3];
    size_t dynamic;
    uint64_t seed;
    int order, cooperative;
};

enum { BARRIER, BARRIER_COUNT, BARRIER_OR, BARRIER_AND };
enum { WARP_SYNC, WARP_SHUFFLE, WARP_BALLOT, WARP_ANY, WARP_ALL, WARP_ADD, WARP_MAX, WARP_MIN };

#pragma GCC visibility push(default)
int barrier(int op, int given, int line);
uint64_t together(int op, uint32_t mask, uint64_t given, int from, int line);
void grid_barrier(int line);
void poll(int event);
int launch(const Image *image, const Launch *how, void **arguments, char *message, size_t size);
#pragma GCC visibility pop

}  // namespace on_host
