#include "race_shadow.h"

#include <algorithm>

#include "block.h"
#include "state.h"

// Of the linker: where the program's variables lie that are 0 at its start, static shared memory among them.
extern "C" char __bss_start, _end;

namespace emulation::races {

namespace {

bool is_static_variable(std::uintptr_t address) {
    return address >= reinterpret_cast<std::uintptr_t>(&__bss_start) &&
           address < reinterpret_cast<std::uintptr_t>(&_end);
}

unsigned warp_of(const Stretch& stretch) {
    return stretch.thread / warpSize;
}

bool same_warp(const Stretch& a, const Stretch& b) {
    return a.block == b.block && warp_of(a) == warp_of(b);
}

/// An access behind one that is over for it races with whatever that one would.
void remember(Traces& traces, const Order& order, const Trace& now, bool in_shared) {
    if (traces[0].stretch == now.stretch || traces[1].stretch == now.stretch) return;
    for (Trace& trace : traces) {
        if (trace.stretch != 0 && !order.is_over(trace.stretch, in_shared)) continue;
        trace = now;
        return;
    }
    // Two of one warp would be over behind the warp's next barrier.
    const Stretch &first = order.stretch(traces[0].stretch), &second = order.stretch(traces[1].stretch);
    if (same_warp(first, second) && !same_warp(first, order.stretch(now.stretch))) traces[1] = now;
}

const Trace* concurrent(const Traces& traces, const Order& order, bool in_shared) {
    for (const Trace& trace : traces)
        if (trace.stretch != 0 && !order.is_over(trace.stretch, in_shared)) return &trace;
    return nullptr;
}

/// True where the access races with one that the cell remembers.
bool note_in(Cell& cell, const Order& order, const Trace& now, Access kind, bool in_shared, Race& race) {
    const auto races_with = [&](const Trace* earlier, Access earlier_kind) {
        if (earlier != nullptr) race = {*earlier, earlier_kind, in_shared};
        return earlier != nullptr;
    };
    const bool written = cell.write.stretch != 0 && !order.is_over(cell.write.stretch, in_shared);
    if (races_with(written ? &cell.write : nullptr, Access::write)) return true;
    if (kind != Access::read && races_with(concurrent(cell.reads, order, in_shared), Access::read))
        return true;
    if (kind != Access::atomic && races_with(concurrent(cell.atomics, order, in_shared), Access::atomic))
        return true;

    if (kind == Access::write)
        cell = {now, {}, {}};
    else
        remember(kind == Access::read ? cell.reads : cell.atomics, order, now, in_shared);
    return false;
}

}  // namespace

void Shadow::clear() {
    pages_.clear();
    recent_.fill({});
}

Shadow::Page* Shadow::page_of(std::uintptr_t address) {
    const std::uintptr_t number = address / kPageBytes;
    Lookup& recent = recent_[number % recent_.size()];
    if (recent.number == number) return recent.page;
    const auto [found, is_new] = pages_.try_emplace(number);
    if (is_new) {
        const bool in_shared = is_static_variable(address) || is_dynamic_shared(address);
        if (in_shared || is_device_address(reinterpret_cast<const void*>(address)))
            found->second = std::make_unique<Page>(Page{in_shared, 4, std::vector<Cell>(kPageBytes / 4)});
    }
    recent = {number, found->second.get()};
    return recent.page;
}

void Shadow::split_cells(Page& page, unsigned unit) {
    std::vector<Cell> cells(kPageBytes / unit);
    for (std::size_t at = 0; at < cells.size(); ++at) cells[at] = page.cells[at * unit / page.unit];
    page.cells = std::move(cells);
    page.unit = unit;
}

bool Shadow::note(const Order& order, const Trace& now, Access kind, std::uintptr_t address,
                  std::size_t bytes, Race& race) {
    const std::uintptr_t end = address + bytes;
    while (address < end) {
        const std::uintptr_t start = address / kPageBytes * kPageBytes,
                             stop = std::min(end, start + kPageBytes);
        if (Page* const page = page_of(address)) {
            if ((address | stop) % page->unit != 0) split_cells(*page, (address | stop) % 2 != 0 ? 1 : 2);
            for (std::uintptr_t at = address; at < stop; at += page->unit)
                if (note_in(page->cells[(at - start) / page->unit], order, now, kind, page->in_shared, race))
                    return true;
        }
        address = stop;
    }
    return false;
}

}  // namespace emulation::races
