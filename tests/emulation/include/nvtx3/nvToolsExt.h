// The two NVTX calls this project uses. Here the innermost range names the kernel in reports of misuse.
#pragma once

int nvtxRangePushA(const char* name);
int nvtxRangePop();
