/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FARMEM_SEGMENT_H
#define FARMEM_SEGMENT_H

/**
 * enum farmem_segment - by when a page was first written: what the language runtime loaded, what the function initialised, what requests use
 * A segment ends with its barrier (FaaSMem, ASPLOS'24: "puckets").
 */
enum farmem_segment { FARMEM_RUNTIME, FARMEM_INIT, FARMEM_EXECUTION, FARMEM_SEGMENTS };

#define FARMEM_SEGMENT_BIT(segment) (1u << (segment))
#define FARMEM_ALL_SEGMENTS (FARMEM_SEGMENT_BIT(FARMEM_SEGMENTS) - 1)

#endif
