#include "job.h"
#include <errno.h>
int job_probe(const struct spec *spec, json_t *out, struct hearth_err *err){return -ENOSYS;}
