/* SPDX-License-Identifier: Apache-2.0 */
/* What the library must know as Hearth's own stand-in for libcufile.so.0, by this name. */
const char hearth_cufile_marker[] = "hearth";
