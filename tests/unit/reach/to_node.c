// SPDX-License-Identifier: Apache-2.0
/* The whole way, from an account or from a destination's name to a leg; which node it is, and how
 * it ends. */
#include "unit.h"

#include "reach/reach.h"
#include "unit/file_mapping.h"
#include "unit/one_node.h"

static struct way {
	struct reaches reaches;
} w;

struct owner {
	struct reach reach;
	int found, chosen, up, down, done;
	bool has_leg; /* another one: it needs no dial */
	const char *goes_to;
	enum node_keep keep, kept; /* what is said of the client's TLS, and what came of it */
	const struct handoff_open *handoff;
	struct node *node;
	enum reach_failure failure;
	enum reach_phase at;
};

static void go_to(struct owner *owner, const char *destination);

static void on_phase(void *arg, enum reach_phase phase)
{
	(void)arg;
	assert_int_equal(phase, REACH_LOOKUP);
}

static void on_found(void *arg, const struct mapping_answer *answer)
{
	struct owner *owner = arg;

	owner->found++;
	if (!owner->has_leg)
		go_to(owner, owner->goes_to ? owner->goes_to : answer->destination);
}

static void on_chosen(void *arg, const struct reach_target *target)
{
	struct owner *owner = arg;

	owner->chosen++;
	owner->node = target->node;
	assert_string_equal(target->destination->name, target->node->name);
}

static void on_done(void *arg, enum reach_failure failure, enum reach_phase at)
{
	struct owner *owner = arg;

	owner->done++;
	owner->failure = failure;
	owner->at = at;
	assert_int_equal(owner->reach.phase, REACH_IDLE);
	assert_null(owner->reach.dial);
}

static void on_up(void *arg)
{
	struct owner *owner = arg;

	owner->up++;
}

static void on_event(void *arg)
{
	(void)arg;
}

static void on_down(void *arg)
{
	struct owner *owner = arg;

	owner->down++;
}

static enum node_step on_step(void *arg)
{
	(void)arg;
	return NODE_STEP_GREETING;
}

static const struct addr *on_local(void *arg)
{
	(void)arg;
	return &f.local;
}

static void on_kept(void *arg, enum node_keep why)
{
	struct owner *owner = arg;

	owner->kept = why;
}

static enum node_keep on_offer(void *arg, const struct handoff_open **ret_open)
{
	struct owner *owner = arg;

	*ret_open = owner->handoff;
	return owner->keep;
}

static const struct reach_ops ops = { .phase = on_phase,
	.found = on_found,
	.chosen = on_chosen,
	.offer = on_offer,
	.done = on_done,
	.dial = { .up = on_up,
		.event = on_event,
		.down = on_down,
		.step = on_step,
		.after = on_event,
		.local = on_local,
		.kept = on_kept } };

static struct reach_params params_of(struct owner *owner)
{
	static const unsigned char id[PROXYHDR_ID_BYTES];

	return (struct reach_params){ .ops = &ops,
		.arg = owner,
		.reaches = &w.reaches,
		.client = &f.client,
		.snapshot = f.router.snapshot,
		.protocol = PROTOCOL_IMAP,
		.proxy_id = id,
		.hops_left = 8,
		.client_tls = owner->handoff };
}

static void go_to(struct owner *owner, const char *destination)
{
	struct reach_params params = params_of(owner);

	reach_to(&owner->reach, &params, destination);
}

static void start(struct owner *owner, const char *account)
{
	struct reach_params params = params_of(owner);

	reach_start(&owner->reach, &params, account);
}

static int set_up(void **state)
{
	static const char *const names[] = { "node1", NULL };

	assert_int_equal(setup(state), 0);
	assert_int_equal(holds_new(&f.router.holds), 0);
	f.router.mapping = file_mapping(&f.loop, f.accounts, names, 60000, 10000);
	reaches_init(&w.reaches, &f.router, &f.loop, f.resolver, &f.router.snapshot);
	return 0;
}

static int tear_down(void **state)
{
	reaches_fini(&w.reaches);
	mapping_free(f.router.mapping);
	holds_free(f.router.holds);
	return teardown(state);
}

static void test_from_an_account_to_a_leg(void **state)
{
	struct owner alice = { 0 };

	(void)state;
	assert_int_equal(listen(f.node_listener, 4), 0);
	start(&alice, "alice");
	run_until(&alice.up);
	assert_int_equal(alice.found, 1);
	assert_int_equal(alice.chosen, 1);
	assert_ptr_equal(alice.node, f.router.snapshot->nodes[0]);
	assert_int_equal(alice.reach.phase, REACH_DIAL);
	dial_end_talk(alice.reach.dial);
	reach_stop(&alice.reach); /* it has what it wanted */
	assert_int_equal(alice.down, 1);
	assert_int_equal(alice.done, 0);
	assert_int_equal(alice.reach.phase, REACH_IDLE);
}

/* An owner that has a leg already leaves it at the name, and may ask again with the same object. */
static void test_a_name_is_enough(void **state)
{
	struct owner alice = { .has_leg = true };

	(void)state;
	start(&alice, "alice");
	run_until(&alice.found);
	assert_int_equal(alice.chosen + alice.done, 0);
	assert_int_equal(alice.reach.phase, REACH_IDLE);
	alice.found = 0;
	start(&alice, "alice");
	assert_int_equal(alice.found, 1);
}

/* Without a lookup; and the same object again. */
static void test_to_a_name_that_is_given(void **state)
{
	struct owner owner = { 0 };

	(void)state;
	go_to(&owner, "node1"); /* nothing listens there */
	run_until(&owner.done);
	assert_int_equal(owner.found + owner.up, 0);
	assert_int_equal(owner.failure, UNREACHED_UNREACHABLE);
	assert_int_equal(owner.at, REACH_DIAL);
	assert_int_equal(listen(f.node_listener, 4), 0);
	go_to(&owner, "node1");
	run_until(&owner.up);
	assert_int_equal(owner.done, 1);
	reach_stop(&owner.reach);
	assert_int_equal(owner.down, 1);
}

/* What the owner's snapshot does not know, and the newest does not either. */
static void test_a_name_that_nobody_knows_is_the_default(void **state)
{
	struct owner owner = { .goes_to = "node9" };

	(void)state;
	assert_int_equal(listen(f.node_listener, 4), 0);
	start(&owner, "alice");
	run_until(&owner.up);
	assert_string_equal(owner.node->name, "node1");
	assert_null(owner.reach.snapshot);
	reach_stop(&owner.reach);
}

/* What came with a reload is kept as long as somebody is on the way there. */
static void test_a_node_of_a_newer_snapshot(void **state)
{
	static struct snapshot *newest;
	struct build_error error;
	struct config *config;
	struct owner owner = { 0 };
	char content[2048], path[96];
	unsigned references;

	(void)state;
	snprintf(content, sizeof(content),
		"%s[destination.node2]\nhost = \"127.0.0.1\"\nallow_plaintext_auth = true\n"
		"[destination.node2.protocol.imap]\nport = 9\ntls = \"plain\"\n",
		f.content);
	write_file("homing.toml", content, path);
	assert_int_equal(config_load(path, no_finding, NULL, &config), 0);
	assert_int_equal(
		snapshot_new(f.router.snapshot, &f.router.known, config, &newest, &error), 0);
	config_unref(config);
	w.reaches.newest = &newest;
	references = atomic_load(&newest->references);
	go_to(&owner, "node2");
	assert_string_equal(owner.node->name, "node2");
	assert_int_equal(atomic_load(&newest->references), references + 1);
	reach_stop(&owner.reach);
	assert_int_equal(atomic_load(&newest->references), references);
	w.reaches.newest = &f.router.snapshot;
	snapshot_unref(newest);
}

/* Before anything is sent: the node was not tried. */
static void test_what_is_not_even_tried(void **state)
{
	struct owner owner = { 0 }, hops = { 0 };
	struct reach_params params = params_of(&owner);
	struct node *node = f.router.snapshot->nodes[0];

	(void)state;
	params.protocol = PROTOCOL_POP3;
	reach_to(&owner.reach, &params, "node1");
	assert_int_equal(owner.done, 1);
	assert_int_equal(owner.failure, UNREACHED_NO_PROTOCOL);
	assert_int_equal(owner.at, REACH_IDLE);
	f.config->destinations[0].legs[PROTOCOL_IMAP].forwarding = CONFIG_FORWARDING_XCLIENT;
	params = params_of(&hops);
	params.hops_left = 1;
	reach_to(&hops.reach, &params, "node1");
	assert_int_equal(hops.failure, UNREACHED_LOOP);
	assert_int_equal(hops.at, REACH_IDLE);
	assert_int_equal(atomic_load(&node->dial_errors), 0);
	assert_int_equal(hops.down + owner.down, 0);
}

/* HND-10: the node has an agent, and the way is the ordinary one. */
static void expect_kept(struct owner owner, enum node_keep why)
{
	const struct node *node = f.router.snapshot->nodes[0];
	uint64_t before = atomic_load(&node->kept[why]);

	go_to(&owner, "node1");
	run_until(&owner.up);
	reach_stop(&owner.reach);
	assert_int_equal(owner.kept, why);
	assert_int_equal(atomic_load(&node->kept[why]), before + (why != NODE_KEEP_NOTHING));
}

static void break_agent(void)
{
	struct health *health = f.router.snapshot->nodes[0]->agent;
	struct addr addr = f.client;

	while (health_report(health, HEALTH_FAIL_HOST, false, &addr, clock_mono_ms()) !=
		HEALTH_WENT_DOWN)
		addr_set_port(&addr, (uint16_t)(addr_port(&addr) + 1));
}

static void test_HND_10_why_the_agent_is_not_asked(void **state)
{
	struct config_handoff *handoff = &f.config->destinations[0].handoff;
	const struct handoff_open open = { .protocol = HANDOFF_IMAP };
	struct owner owner = { .handoff = &open };

	(void)state;
	assert_int_equal(listen(f.node_listener, 8), 0);
	expect_kept((struct owner){ .keep = NODE_KEEP_PLAIN }, NODE_KEEP_NOTHING); /* no agent */
	handoff->declared = true;
	expect_kept((struct owner){ .handoff = &open }, NODE_KEEP_PROTOCOL);
	handoff->protocols[PROTOCOL_IMAP] = true;
	expect_kept((struct owner){ .keep = NODE_KEEP_PLAIN }, NODE_KEEP_PLAIN);
	break_agent();
	expect_kept((struct owner){ .handoff = &open }, NODE_KEEP_DOWN);
	handoff->mode = CONFIG_HANDOFF_REQUIRE; /* there is no other way */
	go_to(&owner, "node1");
	run_until(&owner.done);
	assert_int_equal(owner.failure, UNREACHED_NO_AGENT);
	assert_int_equal(owner.kept, NODE_KEEP_DOWN);
	assert_int_equal(atomic_load(&f.router.snapshot->nodes[0]->kept[NODE_KEEP_DOWN]), 2);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_from_an_account_to_a_leg, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_a_name_is_enough, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_to_a_name_that_is_given, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
			test_a_name_that_nobody_knows_is_the_default, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_a_node_of_a_newer_snapshot, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_what_is_not_even_tried, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
			test_HND_10_why_the_agent_is_not_asked, set_up, tear_down),
	};
	int r;

	if (tls_process_init() < 0)
		return 1;
	r = cmocka_run_group_tests(tests, NULL, NULL);
	tls_process_fini();
	return r;
}
