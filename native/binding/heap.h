// Asks V8 to give back memory that it does not need at present.
#pragma once

namespace marketplace::binding {

// Begins an incremental collection of this thread's heap, which also makes the young generation
// small again. False where this Node doesn't offer that: then nothing has happened.
bool shrink_heap();

}  // namespace marketplace::binding
