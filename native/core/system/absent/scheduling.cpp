// For systems that neither tell which processor runs a thread nor shorten its time slices.
#include "core/system/scheduling.h"

namespace mora {

int currentProcessor() { return -1; }

void takeShortTurns() {}

void leaveProcessors(const ProcessorSet&) {}

BetweenItems::BetweenItems() : begin_(0) {}

void BetweenItems::pause() {}

}  // namespace mora
