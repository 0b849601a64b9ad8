// What V8 is asked for: to give back memory that it does not need at present, and to collect young
// garbage early.
#pragma once

#include <node_api.h>

namespace marketplace::binding {

// Begins an incremental collection of this thread's heap, which also makes the young generation
// small again. False where this Node doesn't offer that: then nothing has happened.
bool shrink_heap();

// Collects the young generation, and with it the memory that only its garbage holds. V8 does so by
// itself when young ArrayBuffers have 32 MiB together (128 in Node 24). But it counts those among
// what the old generation has gained since it was collected last, too, for which a heap of 8 to 11
// MB has less room than that: so it would collect the old generation, of which nothing is garbage,
// as often as it sees 32 MiB. Collected earlier, there never are as many.
//
// The way is V8's own: ArrayBuffers that large are there (as address space; it isn't touched), and
// another one is made. What it counts is put right meanwhile. False when nothing was collected:
// there is no address space, or this engine of JavaScript has other rules, and is not to be asked
// again.
bool collect_young(napi_env env);

}  // namespace marketplace::binding
