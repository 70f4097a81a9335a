/* Batches of operations by librseq's sections, for librseq.rs: its headers have these, and aren't part of this project.
 *
 * As there, slots are at a fixed address, and each commit goes to an address that is in a register.
 */
#define _GNU_SOURCE
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>

/* Hidden: what the compiler finds without the table of addresses of a shared object, as in a program. */
#pragma GCC visibility push(hidden)
#include <rseq/rseq.h>
#pragma GCC visibility pop

enum { BATCH = 64, SLOTS = 256, CAPACITY = 64 };

#define IN_REGISTER(pointer) __asm__("" : "+r"(pointer))
#define PER_CPU __attribute__((aligned(128)))

static unsigned long aborts;

static __attribute__((cold, noinline)) void aborted(void)
{
	__atomic_fetch_add(&aborts, 1, __ATOMIC_RELAXED);
}

/* How many sections didn't commit. */
unsigned long rseq_bench_aborts(void)
{
	return __atomic_load_n(&aborts, __ATOMIC_RELAXED);
}

/* From the thread pointer to the area that libc registers; librseq's library, whose own area doesn't fit where shared objects are loaded late, has it as well. */
ptrdiff_t rseq_offset;
extern const ptrdiff_t __rseq_offset;
extern const unsigned int __rseq_size;

/* True if libc registers threads. To be called before all others. */
bool rseq_bench_is_available(void)
{
	rseq_offset = __rseq_offset;
	return __rseq_size > 0;
}

static struct PER_CPU { intptr_t counters[BATCH]; } counters[SLOTS];

static inline void count(int number)
{
	for (;;) {
		int cpu = rseq_cpu_start();
		intptr_t *counter = &counters[cpu % SLOTS].counters[number];
		IN_REGISTER(counter);
		if (rseq_likely(!rseq_load_add_store__ptr(RSEQ_MO_RELAXED, RSEQ_PERCPU_CPU_ID, counter, 1, cpu)))
			return;
		aborted();
	}
}

/* The same counter over and over. */
void rseq_bench_count_one(void)
{
	for (int number = 0; number < BATCH; number++)
		count(0);
}

/* So many counters in turn. */
void rseq_bench_count_in_turn(void)
{
	for (int number = 0; number < BATCH; number++)
		count(number);
}

struct node { struct node *next; };

static struct PER_CPU { struct node *head; } lists[SLOTS];

static inline struct node *list_pop(void)
{
	for (;;) {
		int cpu = rseq_cpu_start();
		intptr_t *head = (intptr_t *)&lists[cpu % SLOTS].head, popped;
		IN_REGISTER(head);
		int result = rseq_load_cbeq_store_add_load_store__ptr(RSEQ_MO_RELAXED, RSEQ_PERCPU_CPU_ID, head, 0,
								      offsetof(struct node, next), &popped, cpu);
		if (rseq_likely(!result))
			return (struct node *)popped;
		if (result > 0)
			return NULL;
		aborted();
	}
}

static inline void list_push(struct node *node)
{
	for (;;) {
		int cpu = rseq_cpu_start();
		intptr_t *head = (intptr_t *)&lists[cpu % SLOTS].head;
		IN_REGISTER(head);
		intptr_t first = RSEQ_READ_ONCE(*head);
		node->next = (struct node *)first;
		if (rseq_likely(!rseq_load_cbne_store__ptr(RSEQ_MO_RELAXED, RSEQ_PERCPU_CPU_ID, head, first, (intptr_t)node, cpu)))
			return;
		aborted();
	}
}

static __attribute__((cold, noinline)) struct node *new_node(void)
{
	struct node *node = malloc(sizeof(*node));
	if (!node)
		abort();
	return node;
}

/* A node is popped and pushed again. */
void rseq_bench_lists(void)
{
	for (int number = 0; number < BATCH; number++) {
		struct node *node = list_pop();
		if (rseq_unlikely(!node))
			node = new_node();
		IN_REGISTER(node);
		list_push(node);
	}
}

static struct PER_CPU { intptr_t len, items[CAPACITY]; } buffers[SLOTS];

static inline bool buffer_pop(intptr_t *item)
{
	for (;;) {
		int cpu = rseq_cpu_start();
		intptr_t *len = &buffers[cpu % SLOTS].len;
		IN_REGISTER(len);
		intptr_t now = RSEQ_READ_ONCE(*len);
		if (!now)
			return false;
		intptr_t *place = &buffers[cpu % SLOTS].items[now - 1];
		IN_REGISTER(place);
		*item = RSEQ_READ_ONCE(*place);
		if (rseq_likely(!rseq_load_cbne_load_cbne_store__ptr(RSEQ_MO_RELAXED, RSEQ_PERCPU_CPU_ID, len, now, place, *item, now - 1, cpu)))
			return true;
		aborted();
	}
}

static inline bool buffer_push(intptr_t item)
{
	for (;;) {
		int cpu = rseq_cpu_start();
		intptr_t *len = &buffers[cpu % SLOTS].len;
		IN_REGISTER(len);
		intptr_t now = RSEQ_READ_ONCE(*len);
		if (now == CAPACITY)
			return false;
		intptr_t *place = &buffers[cpu % SLOTS].items[now];
		IN_REGISTER(place);
		if (rseq_likely(!rseq_load_cbne_store_store__ptr(RSEQ_MO_RELAXED, RSEQ_PERCPU_CPU_ID, len, now, place, item, now + 1, cpu)))
			return true;
		aborted();
	}
}

/* An item is popped and pushed again. */
void rseq_bench_buffers(void)
{
	for (intptr_t number = 0; number < BATCH; number++) {
		intptr_t item;
		if (rseq_unlikely(!buffer_pop(&item)))
			item = number + 1;
		IN_REGISTER(item);
		buffer_push(item);
	}
}
