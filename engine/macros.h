// Marks functions that are compiled for the host and, under nvcc, for the device too.
#pragma once

#ifdef __CUDACC__
#define QSTEP_HOST_DEVICE __host__ __device__
#else
#define QSTEP_HOST_DEVICE
#endif
