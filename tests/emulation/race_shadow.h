// What is remembered of each word of watched memory: the accesses that a later one could race with.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <unordered_map>
#include <vector>

#include "race_order.h"

namespace emulation::races {

enum class Access : std::uint8_t { read, write, atomic };

/// The stretch (race_order.h) in which an access was made, 0 for none, and where in the program.
struct Trace {
    std::uint32_t stretch = 0, place = 0;
};

/// Accesses that are not known to be over for each other. Two are enough: where more threads could race with
/// a later write, it races with one of these.
using Traces = std::array<Trace, 2>;

struct Cell {
    Trace write;
    Traces reads, atomics;
};

struct Race {
    Trace earlier;
    Access earlier_kind;
    bool in_shared;
};

class Shadow {
  public:
    void clear();
    /// Remembers the running thread's access; true, and what it races with in `race`, where there is any.
    bool note(const Order& order, const Trace& now, Access kind, std::uintptr_t address, std::size_t bytes,
              Race& race);

  private:
    static constexpr std::uintptr_t kPageBytes = 4096;
    struct Page {
        bool in_shared;
        unsigned unit;  // bytes of a cell: 4, or fewer from the first access on that is no whole words
        std::vector<Cell> cells;
    };
    struct Lookup {
        std::uintptr_t number = 0;
        Page* page = nullptr;
    };

    /// The page of an address; null: is not watched.
    Page* page_of(std::uintptr_t address);
    static void split_cells(Page& page, unsigned unit);

    std::unordered_map<std::uintptr_t, std::unique_ptr<Page>> pages_;
    std::array<Lookup, 256> recent_;
};

}  // namespace emulation::races
