/* SPDX-License-Identifier: Apache-2.0 */
/* Lines of the control protocol and the manifests in them. The node is one that is stopping: it takes everything in and does nothing of it. */
#include "../../../src/node/control.c"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

/* as hearthd begins without a file, in folders that are not there */
static int begin(struct node_config *cfg, struct node *n)
{
	struct hearth_err err;

	if (node_config_init(cfg, &err) < 0)
		return -1;
	free(cfg->run_dir);
	free(cfg->state_dir);
	cfg->run_dir = strdup("/nonexistent");
	cfg->state_dir = strdup("/nonexistent");
	return !cfg->run_dir || !cfg->state_dir || cgroup_probe_from("", "", &n->cgroups, &err) < 0 || node_slots_init(n, &err) < 0 ? -1 : 0;
}

static void try_line(const uint8_t *data, size_t len)
{
	static struct node_config cfg;
	static struct node n = { .cfg = &cfg, .stopping = true };
	json_t *reply;
	char *text;

	if (!n.cgroups && begin(&cfg, &n) < 0)
		abort();
	reply = answer(&n, (const char *)data, len);
	text = json_dumps(reply, JSON_COMPACT);
	if (!text || !json_is_boolean(json_object_get(reply, "ok")))
		abort();
	free(text);
	json_decref(reply);
}

static void try_manifest(const uint8_t *data, size_t len)
{
	struct manifest m, again;
	struct hearth_err err;
	json_t *o;

	if (manifest_parse((const char *)data, len, "fuzz", "/tmp", NULL, &m, &err) < 0)
		return;
	o = manifest_to_json(&m);
	if (manifest_from_json(o, &again, &err) < 0 || !manifest_equal(&m, &again))
		abort();
	json_decref(o);
	manifest_done(&m);
	manifest_done(&again);
}

/* what was stored may have been damaged */
static void try_stored(const uint8_t *data, size_t len)
{
	json_t *o = json_loadb((const char *)data, len, 0, NULL);
	struct hearth_err err;
	struct manifest m;

	if (o && manifest_from_json(o, &m, &err) == 0)
		manifest_done(&m);
	json_decref(o);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	if (len > 65536)
		return 0;
	try_line(data, len);
	try_manifest(data, len);
	try_stored(data, len);
	return 0;
}
