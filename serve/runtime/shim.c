/* One call of a loaded executable in one function, for serve/runtime/frame.py.

   The inputs are in place; this executes, waits, and copies the outputs out. It only calls what
   the plugin gave: no Python.h, so one library fits every Python, and no header of PJRT, whose
   structs are arrays of words here as they are in api.py. Python fills them in.
*/

#include <stdint.h>
#include <string.h>

typedef uint64_t word;
typedef word (*function)(word *arguments); /* of PJRT: returns an error, or 0 */

enum { FIRST = 2, SECOND = 3 }; /* fields, after struct_size and extension_start */
enum { DONE, EXECUTE, ADDRESS }; /* what failed; the order of FAILED in shim.py */

struct frame { /* the order of Words in shim.py */
    function execute, await, destroy_event, address, destroy_buffer;
    word *execution, *event, *place, *spent; /* the arguments of these functions */
    word *buffers; /* the outputs, written by execute */
    word *sizes;   /* of each, in bytes */
    char **copies; /* where each goes */
    word count;
    word error;
};

static void destroy(struct frame *f, function by, word *handle)
{
    f->spent[FIRST] = *handle;
    *handle = 0;
    by(f->spent);
}

int lamda_call(struct frame *f)
{
    f->error = f->execute(f->execution);
    if (f->error)
        return EXECUTE;
    f->error = f->await(f->event);
    destroy(f, f->destroy_event, &f->event[FIRST]);
    if (f->error)
        return EXECUTE;
    for (word i = 0; i < f->count; i++) {
        if (f->sizes[i]) {
            f->place[FIRST] = f->buffers[i];
            f->error = f->address(f->place);
            if (f->error)
                return ADDRESS;
            memcpy(f->copies[i], (const void *)f->place[SECOND], f->sizes[i]);
        }
        destroy(f, f->destroy_buffer, &f->buffers[i]);
    }
    return DONE;
}
