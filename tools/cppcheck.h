/* SPDX-License-Identifier: Apache-2.0 */
/* What cppcheck has to know of the macros of headers that it does not read. */
#define TAILQ_FOREACH(var, head, field) for ((var) = (head)->tqh_first; (var); (var) = (var)->field.tqe_next)
#define LIST_FOREACH(var, head, field) for ((var) = (head)->lh_first; (var); (var) = (var)->field.le_next)
#define HASH_ITER(hh, head, el, tmp) for ((el) = (head), (tmp) = 0; (el); (el) = (tmp))
#define DL_FOREACH_SAFE(head, el, tmp) for ((el) = (head), (tmp) = 0; (el); (el) = (tmp))
#define json_array_foreach(array, i, value) for ((i) = 0; (value) = json_array_get(array, i), (value); (i)++)
#define json_object_foreach(object, key, value) for ((key) = 0, (value) = 0; (value); (key) = 0)
