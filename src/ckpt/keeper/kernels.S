/* SPDX-License-Identifier: Apache-2.0 */
/* the text of the kernels, for cuModuleLoadData */
	.section .rodata
	.global keeper_kernels
	.type keeper_kernels, @object
keeper_kernels:
	.incbin KERNELS_PTX
	.byte 0
	.size keeper_kernels, . - keeper_kernels
	.section .note.GNU-stack, "", @progbits
